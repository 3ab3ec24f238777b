//! How sockets are dealt.

use std::num::NonZeroUsize;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::support::{SOON, config, house, query};
use crate::session::listener::Arrival;
use crate::session::{Acceptor, Arrivals, Config};
use crate::wire::Version;

#[tokio::test]
async fn sockets_are_dealt_evenly_also_after_some_have_left() {
    let mut acceptor = Acceptor::bind(&config()).unwrap();
    let address = acceptor.address().unwrap();
    let mut workers = [acceptor.arrivals(), acceptor.arrivals()];
    let (_stop, stopped) = watch::channel(false);
    let mut accepting = JoinSet::new();
    accepting.spawn(acceptor.run(stopped));
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let [left, right] = &mut workers;
    let (gone, stay) = (take(left, 3).await, take(right, 3).await);

    drop(gone);
    for _ in 0..3 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!((take(left, 3).await.len(), stay.len()), (3, 3));
}

async fn take(worker: &mut Arrivals, count: usize) -> Vec<Arrival> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let next = timeout(SOON, worker.next()).await.expect("in time");
        taken.push(next.expect("not closed"));
    }
    taken
}

#[test]
fn an_address_that_is_taken_is_named() {
    let first = Acceptor::bind(&config()).unwrap();
    let taken = Config {
        listen: first.address().unwrap(),
        ..config()
    };
    let error = Acceptor::bind(&taken).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains(&taken.listen.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_too_many_is_closed_at_once_and_a_free_place_is_taken_again() {
    let two = Config {
        clients_max: const { NonZeroUsize::new(2).unwrap() },
        ..config()
    };
    house(two, async |house| {
        let first = house.started(Version::V4).await;
        let mut second = house.started(Version::V4).await;
        house.client().await.closed().await;
        drop(first);
        house.holds(1).await;
        let mut third = house.started(Version::V4).await;
        for client in [&mut second, &mut third] {
            client.send(&query(1, "served")).await;
            assert_eq!(client.answer().await.text(), "served");
        }
    })
    .await;
}
