//! Who may have the clusters asked about a name: so many at a time, and fewer of the same name. The others
//! wait in the order in which they came, as long as their handshake lasts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Roles that are asked about at a time: each costs the clusters a slow hash.
const ASKED_MAX: usize = 16;
/// Those of one name among them: who guesses its password leaves room for others.
const ASKED_OF_NAME_MAX: usize = 4;

/// Those who are asked about, and those who wait for that.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    names: RefCell<HashMap<Box<str>, Named>>,
}

/// Those of one name.
#[derive(Debug)]
struct Named {
    count: usize,
    turns: Arc<Semaphore>,
}

/// Leave to ask, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _of_all: Option<SemaphorePermit<'a>>,
    _of_name: Option<OwnedSemaphorePermit>,
    _place: Place<'a>,
}

/// One who is counted below its name.
#[derive(Debug)]
struct Place<'a> {
    turns: &'a Turns,
    name: &'a str,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Semaphore::new(ASKED_MAX),
            names: RefCell::default(),
        }
    }
}

impl Turns {
    /// Waits until this name may be asked about.
    pub(super) async fn of<'a>(&'a self, name: &'a str) -> Turn<'a> {
        let (place, of_name) = self.join(name);
        // Neither is ever closed.
        let of_name = of_name.acquire_owned().await.ok();
        let of_all = self.all.acquire().await.ok();
        Turn {
            _of_all: of_all,
            _of_name: of_name,
            _place: place,
        }
    }

    fn join<'a>(&'a self, name: &'a str) -> (Place<'a>, Arc<Semaphore>) {
        let mut names = self.names.borrow_mut();
        let named = names.entry(name.into()).or_insert_with(|| Named {
            count: 0,
            turns: Arc::new(Semaphore::new(ASKED_OF_NAME_MAX)),
        });
        named.count += 1;
        (Place { turns: self, name }, Arc::clone(&named.turns))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut names = self.turns.names.borrow_mut();
        if let Some(named) = names.get_mut(self.name) {
            named.count -= 1;
            if named.count == 0 {
                names.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use futures_util::FutureExt as _;

    use super::*;

    fn now<T>(turn: impl Future<Output = T>) -> Option<T> {
        turn.now_or_never()
    }

    #[test]
    fn guesses_at_one_name_leave_room_for_others_and_all_together_have_a_bound() {
        let names: Vec<_> = (0..ASKED_MAX).map(|it| it.to_string()).collect();
        let turns = Turns::default();
        let mut held: Vec<_> = (0..ASKED_OF_NAME_MAX)
            .map(|_| now(turns.of("tom")).unwrap())
            .collect();
        assert!(now(turns.of("tom")).is_none());
        for name in names.iter().skip(held.len()) {
            held.push(now(turns.of(name)).unwrap());
        }
        assert!(now(turns.of("ann")).is_none());
        held.pop();
        assert!(now(turns.of("ann")).is_some());
    }

    #[test]
    fn whoever_waited_longer_goes_first_and_nothing_is_left_of_who_left() {
        let turns = Turns::default();
        let held: Vec<_> = (0..ASKED_OF_NAME_MAX)
            .map(|_| now(turns.of("tom")).unwrap())
            .collect();
        let (mut one, mut other) = (Box::pin(turns.of("tom")), Box::pin(turns.of("tom")));
        assert!(now(one.as_mut()).is_none() && now(other.as_mut()).is_none());
        drop(held);
        drop(now(one.as_mut()).unwrap());
        drop(other);
        assert!(turns.names.borrow().is_empty());
        assert_eq!(turns.all.available_permits(), ASKED_MAX);
    }
}
