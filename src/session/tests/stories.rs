//! What well-behaved clients see.

use super::support::{House, config, eventually, frame, house, options, query, register, startup};
use crate::wire::{Opcode, Version};

#[tokio::test]
async fn a_client_asks_starts_and_is_answered_in_its_own_version() {
    house(config(), async |house| {
        for version in [Version::V3, Version::V4] {
            let mut client = house.client().await;
            client.send(&frame(version, 5, Opcode::Options, &[])).await;
            let supported = client.answer().await;
            assert_eq!((supported.opcode, supported.stream), (0x06, 5));
            let listed = String::from_utf8_lossy(&supported.body).into_owned();
            assert!(listed.contains("3/v3") && listed.contains("4/v4"));

            client.start(version).await;
            client
                .send(&frame(version, 9, Opcode::Execute, b"any"))
                .await;
            let answer = client.answer().await;
            assert_eq!((answer.version, answer.stream), (version.number(), 9));
            assert_eq!(answer.text(), "any");
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_and_requests_may_come_in_one_go() {
    house(config(), async |house| {
        let mut client = house.client().await;
        let mut all = options(1);
        all.extend(startup(Version::V4));
        all.extend(register(Version::V4, 2, "SCHEMA_CHANGE"));
        all.extend(query(3, "first"));
        all.extend(options(4));
        all.extend(query(5, "second"));
        client.send(&all).await;
        let expected = [
            (1, 0x06),
            (0, 0x02),
            (2, 0x02),
            (3, 0x08),
            (4, 0x06),
            (5, 0x08),
        ];
        for (stream, opcode) in expected {
            let answer = client.answer().await;
            assert_eq!((answer.stream, answer.opcode), (stream, opcode));
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    house(config(), async |house| {
        let mut client = house.client().await;
        client.0.set_nodelay(true).unwrap();
        let mut all = options(1);
        all.extend(startup(Version::V4));
        all.extend(query(2, "slowly"));
        for byte in all {
            client.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.opcode, 0x06);
        assert_eq!(client.answer().await.opcode, 0x02);
        assert_eq!(client.answer().await.text(), "slowly");
    })
    .await;
}

#[tokio::test]
async fn a_keyspace_is_of_the_connection_that_used_it() {
    house(config(), async |house| {
        let mut first = house.started(Version::V4).await;
        let mut other = house.started(Version::V4).await;
        first
            .send(&[query(1, "use shop"), query(2, "keyspace")].concat())
            .await;
        assert_eq!(first.answer().await.text(), "shop");
        assert_eq!(first.answer().await.text(), "shop");
        other.send(&query(1, "keyspace")).await;
        assert_eq!(other.answer().await.text(), "none");
    })
    .await;
}

#[tokio::test]
async fn a_request_knows_the_address_that_its_client_dialled() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        client.send(&query(1, "dialled")).await;
        let dialled = client.0.peer_addr().unwrap().to_string();
        assert_eq!(client.answer().await.text(), dialled);
    })
    .await;
}

#[tokio::test]
async fn clients_and_errors_are_counted() {
    house(config(), async |house: &mut House| {
        let mut client = house.started(Version::V4).await;
        assert!(house.echo.counts("helix_client_connections 1"));
        client.send(&query(1, "refuse")).await;
        assert_eq!(client.answer().await.error().0, 0x1001);
        let errors = |echo: &super::support::Echo, count: &str| {
            echo.counts(&format!(
                "helix_client_errors_total{{code=\"overloaded\"}} {count}"
            ))
        };
        assert!(errors(&house.echo, "1"));
        drop(client);
        eventually(|| house.echo.counts("helix_client_connections 0")).await;
        house.holds(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_before_startup_is_refused_and_startup_may_follow() {
    house(config(), async |house| {
        let mut client = house.client().await;
        client.send(&query(7, "early")).await;
        let early = client.answer().await;
        assert_eq!(early.stream, 7);
        let told = "Unexpected message QUERY, expecting STARTUP or OPTIONS";
        assert_eq!(early.error(), (0x000A, told.to_owned()));
        assert_eq!(house.echo.seen.get(), 0);
        client.start(Version::V4).await;
        client.send(&startup(Version::V4)).await;
        assert_eq!(client.answer().await.error().0, 0x000A);
        client.send(&query(8, "late")).await;
        assert_eq!(client.answer().await.text(), "late");
    })
    .await;
}
