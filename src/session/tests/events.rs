//! Who is told what without asking.

use super::coding::{startup_v5, unwrapped};
use super::support::{config, eventually, frame, house, house_up_to, query, register};
use crate::session::Config;
use crate::wire::coding::Tools;
use crate::wire::header::HEADER_LEN;
use crate::wire::{Coding, Cursor, Opcode, Version, put};

fn body(texts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        put::string(&mut out, text);
    }
    out
}

#[tokio::test]
async fn an_event_goes_to_those_who_registered_for_its_kind() {
    house(config(), async |house| {
        let mut told = house.started(Version::V4).await;
        let mut other = house.started(Version::V4).await;
        let mut silent = house.started(Version::V4).await;
        told.send(&register(Version::V4, 1, "SCHEMA_CHANGE")).await;
        other.send(&register(Version::V4, 1, "STATUS_CHANGE")).await;
        assert_eq!(told.answer().await.opcode, 0x02);
        assert_eq!(other.answer().await.opcode, 0x02);

        let change = body(&["SCHEMA_CHANGE", "CREATED", "TABLE", "shop", "orders"]);
        house.sessions.schema_changed(&change);
        let event = told.answer().await;
        assert_eq!((event.opcode, event.stream), (0x0C, -1));
        assert_eq!(event.body, change);
        for client in [&mut told, &mut other, &mut silent] {
            client.send(&query(1, "no event")).await;
            assert_eq!(client.answer().await.text(), "no event");
        }
    })
    .await;
}

/// The address that STATUS_CHANGE UP tells.
fn up(body: &[u8]) -> std::net::SocketAddr {
    let mut cursor = Cursor::new(body);
    assert_eq!(cursor.string(), Ok("STATUS_CHANGE"));
    assert_eq!(cursor.string(), Ok("UP"));
    let (&length, rest) = cursor.rest().split_first().unwrap();
    let (address, port) = rest.split_at(length.into());
    let ip = match length {
        4 => <[u8; 4]>::try_from(address).unwrap().into(),
        _ => std::net::IpAddr::from(<[u8; 16]>::try_from(address).unwrap()),
    };
    let port = i32::from_be_bytes(port.try_into().unwrap());
    (ip, u16::try_from(port).unwrap()).into()
}

#[tokio::test]
async fn up_goes_to_those_who_registered_for_status_under_the_address_that_they_dialled() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let listen = Config {
            listen: listen.parse().unwrap(),
            ..config()
        };
        house(listen, async |house| {
            for version in [Version::V3, Version::V4] {
                let mut told = house.started(version).await;
                let mut others = [house.started(version).await, house.started(version).await];
                let mut silent = house.started(version).await;
                told.send(&register(version, 1, "STATUS_CHANGE")).await;
                assert_eq!(told.answer().await.opcode, 0x02);
                for (other, event) in others.iter_mut().zip(["SCHEMA_CHANGE", "TOPOLOGY_CHANGE"]) {
                    other.send(&register(version, 1, event)).await;
                    assert_eq!(other.answer().await.opcode, 0x02);
                }

                house.sessions.serves_again();
                let event = told.answer().await;
                assert_eq!((event.opcode, event.stream), (0x0C, -1));
                assert_eq!((event.version, event.flags), (version.number(), 0));
                assert_eq!(up(&event.body), house.address);
                for client in [&mut told, &mut silent].into_iter().chain(&mut others) {
                    client
                        .send(&frame(version, 1, Opcode::Query, b"no event"))
                        .await;
                    assert_eq!(client.answer().await.text(), "no event");
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn in_version_5_an_event_comes_in_a_segment() {
    house_up_to(Version::V5, config(), async |house| {
        for options in [
            &["CQL_VERSION", "3.0.0", "COMPRESSION", "lz4"][..],
            &["CQL_VERSION", "3.0.0"],
        ] {
            let lz4 = options.len() == 4;
            let mut client = house.client().await;
            client.send(&startup_v5(options)).await;
            assert_eq!(client.answer().await.opcode, 0x02);
            let mut sealed = Vec::new();
            let asked = register(Version::V5, 1, "STATUS_CHANGE");
            Coding::Segments { lz4 }.seal(&asked, &mut sealed, &mut Tools::default());
            client.send(&sealed).await;
            assert_eq!(unwrapped(&mut client, lz4, HEADER_LEN).await[4], 0x02);

            house.sessions.serves_again();
            let event = unwrapped(&mut client, lz4, HEADER_LEN + 1).await;
            assert_eq!(event[..5], [0x85, 0, 0xFF, 0xFF, 0x0C]);
            assert_eq!(up(&event[HEADER_LEN..]), house.address);
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_no_event_of_others() {
    house(config(), async |house| {
        let mut deaf = house.started(Version::V4).await;
        let mut told = house.started(Version::V4).await;
        for client in [&mut deaf, &mut told] {
            for event in ["STATUS_CHANGE", "SCHEMA_CHANGE"] {
                client.send(&register(Version::V4, 1, event)).await;
                assert_eq!(client.answer().await.opcode, 0x02);
            }
        }
        // More than may wait in front of an event.
        deaf.send(&query(2, "big 30000000")).await;
        eventually(|| house.echo.seen.get() == 1).await;
        for _ in 0..100 {
            house.sessions.serves_again();
            assert_eq!(up(&told.answer().await.body), house.address);
        }
        // Without these it can go on; with another schema than it knows it could not.
        house.holds(2).await;
        house.sessions.schema_changed(&body(&["SCHEMA_CHANGE"]));
        assert_eq!(told.answer().await.opcode, 0x0C);
        house.holds(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_v3_client_is_told_of_a_function_as_a_change_of_its_keyspace() {
    house(config(), async |house| {
        let mut client = house.started(Version::V3).await;
        client
            .send(&register(Version::V3, 1, "SCHEMA_CHANGE"))
            .await;
        assert_eq!(client.answer().await.opcode, 0x02);
        let change = body(&["SCHEMA_CHANGE", "CREATED", "FUNCTION", "shop", "f"]);
        house.sessions.schema_changed(&change);
        let event = client.answer().await;
        assert_eq!(event.version, 3);
        let expected = body(&["SCHEMA_CHANGE", "UPDATED", "KEYSPACE", "shop"]);
        assert_eq!(event.body, expected);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_event_is_refused_and_the_connection_goes_on() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        client
            .send(&register(Version::V4, 1, "WEATHER_CHANGE"))
            .await;
        assert_eq!(client.answer().await.error().0, 0x000A);
        client.send(&query(2, "on")).await;
        assert_eq!(client.answer().await.text(), "on");
    })
    .await;
}

#[tokio::test]
async fn a_lower_offer_lets_go_of_those_who_speak_a_higher_version() {
    house(config(), async |house| {
        let mut high = house.started(Version::V4).await;
        let mut low = house.started(Version::V3).await;
        house.sessions.offer(Version::V3);
        high.closed().await;
        low.send(&frame(Version::V3, 1, Opcode::Query, b"stays"))
            .await;
        assert_eq!(low.answer().await.text(), "stays");

        let mut late = house.client().await;
        late.send(&frame(Version::V4, 1, Opcode::Options, &[]))
            .await;
        let refused = late.answer().await;
        assert_eq!((refused.version, refused.stream), (3, 0));
        assert!(refused.error().1.ends_with("is 3 and the greatest is 3"));
        late.closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_agreed_on_nothing_yet_is_answered_by_the_latest_offer() {
    house(config(), async |house| {
        let options = |version| frame(version, 1, Opcode::Options, &[]);
        let mut early = house.client().await;
        early.send(&options(Version::V4)).await;
        assert_eq!(early.answer().await.opcode, 0x06);

        house.sessions.offer(Version::V3);
        early.send(&options(Version::V4)).await;
        let refused = early.answer().await;
        assert!(refused.error().1.ends_with("is 3 and the greatest is 3"));
        early.closed().await;

        let mut patient = house.client().await;
        patient.send(&options(Version::V3)).await;
        assert_eq!(patient.answer().await.opcode, 0x06);
        house.sessions.offer(Version::V4);
        patient.send(&options(Version::V4)).await;
        assert_eq!(patient.answer().await.opcode, 0x06);
    })
    .await;
}
