//! Who is told what without asking.

use super::support::{config, frame, house, query, register};
use crate::session::EventKind;
use crate::wire::{Opcode, Version, put};

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
        house.sessions.event(EventKind::Schema, &change);
        house.sessions.event(EventKind::Topology, b"nobody asked");
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

#[tokio::test]
async fn a_v3_client_is_told_of_a_function_as_a_change_of_its_keyspace() {
    house(config(), async |house| {
        let mut client = house.started(Version::V3).await;
        client
            .send(&register(Version::V3, 1, "SCHEMA_CHANGE"))
            .await;
        assert_eq!(client.answer().await.opcode, 0x02);
        let change = body(&["SCHEMA_CHANGE", "CREATED", "FUNCTION", "shop", "f"]);
        house.sessions.event(EventKind::Schema, &change);
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
