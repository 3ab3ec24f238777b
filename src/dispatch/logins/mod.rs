//! Clients that act as roles of their own (`auth.mode: passthrough`): a [`Login`] for each role and
//! password of one thread, with connections of its own to both clusters.

mod login;
mod rights;
mod turns;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use self::turns::Turns;
use super::{Client, Desk};
use crate::cluster::{Role, Ruling};
use crate::pair::Side;
use crate::telemetry::Throttle;
use crate::wire::Version;
use crate::wire::request::Credentials;

pub use login::Login;

/// Roles of one thread that are let in at a time, each with connections to all nodes. Those who come at
/// the same moment may be a few more.
const LOGINS_MAX: usize = 64;
/// Passwords of one name that are let in at a time: while it is changed there are two.
const PASSWORDS_MAX: usize = 8;
/// Roles that keep their connections without a client.
const IDLE_MAX: usize = 8;
/// How often those that have none are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often the log says the same of roles that are not let in.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Characters of a cluster's sentence in the log: it repeats the name that a stranger gave.
const SENTENCE_MAX: usize = 200;

/// What comes of a client that says who it is.
#[derive(Debug)]
pub enum Admission<C: Client> {
    /// It is let in, as this.
    In(Rc<Login<C>>),
    /// There are too many others, in a sentence for the log.
    Full(&'static str),
    /// It is not, in the words of a cluster.
    Refused(String),
    /// No cluster can tell; why is for the log.
    Unknown(String),
}

/// All roles of one thread.
#[derive(Debug)]
pub(super) struct Logins<C: Client> {
    all: RefCell<Vec<Rc<Login<C>>>>,
    turns: Turns,
    throttle: RefCell<Throttle<(Side, &'static str)>>,
}

impl<C: Client> Default for Logins<C> {
    fn default() -> Self {
        Self {
            all: RefCell::default(),
            turns: Turns::default(),
            throttle: RefCell::new(Throttle::new(LOG_EVERY)),
        }
    }
}

impl<C: Client> Logins<C> {
    /// Closes roles without a client beyond those that are kept; refused ones go first.
    fn sweep(&self, idle_max: usize) {
        let now = Instant::now();
        let mut all = self.all.borrow_mut();
        let is_idle = |it: &Rc<Login<C>>| Rc::strong_count(it) == 1;
        for login in all.iter().filter(|it| !is_idle(it)) {
            login.used.set(now);
        }
        let surplus = all.iter().filter(|it| is_idle(it)).count();
        let mut surplus = surplus.saturating_sub(idle_max);
        all.sort_by_key(|it| (it.is_welcome(), it.used.get()));
        let mut gone = Vec::new();
        all.retain(|it| {
            let goes = 0 < surplus && is_idle(it);
            if goes {
                surplus -= 1;
                gone.push(Rc::clone(it));
            }
            !goes
        });
        drop(all);
        drop(gone);
    }

    fn known(&self, digest: &[u8; 32]) -> Option<Rc<Login<C>>> {
        let all = self.all.borrow();
        all.iter().find(|it| it.digest == *digest).cloned()
    }

    /// The role of this name and password, if another one may be added. Those that were never let in, or
    /// are not any more, take nobody's place.
    fn find(
        &self,
        desk: &Desk<C>,
        (digest, said): ([u8; 32], Credentials<'_>),
    ) -> Result<Rc<Login<C>>, &'static str> {
        if let Some(login) = self.known(&digest) {
            return Ok(login);
        }
        let is_full = || {
            let all = self.all.borrow();
            let welcome = all.iter().filter(|it| it.is_welcome());
            let of_name = |it: &&Rc<Login<C>>| it.role.name() == said.username;
            let passwords = welcome.clone().filter(of_name).count();
            (LOGINS_MAX <= welcome.count(), PASSWORDS_MAX <= passwords)
        };
        self.sweep(IDLE_MAX.saturating_sub(1));
        if is_full() != (false, false) {
            self.sweep(0);
        }
        match is_full() {
            (true, _) => return Err("too many roles are logged in; try again later"),
            (_, true) => return Err("too many passwords of this role are in use; try again later"),
            (false, false) => {}
        }
        let login = Login::new(desk, digest, Role::new(said));
        self.all.borrow_mut().push(Rc::clone(&login));
        Ok(login)
    }

    /// Nobody knows any more what any role may do.
    pub(super) fn forget_rights(&self) {
        self.all.borrow().iter().for_each(|it| it.forget_rights());
    }

    /// The nodes are believed to be back.
    pub(super) fn redial_now(&self, side: Side) {
        for login in &*self.all.borrow() {
            login.clusters[side].iter().for_each(|it| it.redial_now());
        }
    }
}

/// A cluster's sentence, short and plain enough for the log.
fn plain(sentence: &str) -> String {
    let plain = sentence.chars().filter(|it| !it.is_control());
    plain.take(SENTENCE_MAX).collect()
}

fn digest(said: Credentials<'_>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(said.username.as_bytes());
    // No name contains it.
    digest.update([0]);
    digest.update(said.password.as_bytes());
    digest.finalize().into()
}

impl<C: Client> Desk<C> {
    /// Whether a client of this version is let in as who it says it is. Its cluster decides: home, or the
    /// other where home is away.
    pub async fn log_in(&self, said: Credentials<'_>, version: Version) -> Admission<C> {
        let digest = digest(said);
        let welcome = self.logins.known(&digest).filter(|it| it.is_welcome());
        // Whoever guesses waits for others who do; who was right before does not.
        let (_turn, found) = match welcome {
            Some(login) => (None, Ok(login)),
            None => {
                let turn = self.logins.turns.of(said.username).await;
                (Some(turn), self.logins.find(self, (digest, said)))
            }
        };
        let login = match found {
            Ok(login) => login,
            Err(sentence) => return Admission::Full(sentence),
        };
        let home = self.shared.policy.home();
        let is_out = self.view.get().out.contains(home);
        let first = if is_out { !home } else { home };
        let (side, ruling) = login.rule(first, version).await;
        match ruling {
            Ruling::In => {
                login.enter(self);
                Admission::In(login)
            }
            Ruling::Out(sentence) => {
                self.turned_away(side, "a login was refused", &sentence);
                Admission::Refused(sentence)
            }
            Ruling::Unknown(why) => Admission::Unknown(why),
        }
    }

    /// A cluster did not let a client's role in.
    pub(super) fn turned_away(&self, side: Side, what: &'static str, sentence: &str) {
        self.metrics.login_refused(side);
        let now = Instant::now().into_std();
        let admitted = (self.logins.throttle.borrow_mut()).admit((side, what), now);
        if let Some(suppressed) = admitted {
            let sentence = plain(sentence);
            tracing::warn!(%side, suppressed, sentence, "{what}");
        }
    }

    pub(super) async fn sweep_logins(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.logins.sweep(IDLE_MAX);
        }
    }
}
