//! Clients that have to log in: who comes through, who does not, and what they may say meanwhile.

use std::sync::Arc;

use tempfile::TempDir;

use super::coding::{startup_v5, unwrapped};
use super::support::{
    House, Stranger, Terms, config, frame, house_of, options, query, register, startup,
};
use crate::session::Users;
use crate::wire::coding::Tools;
use crate::wire::request::Credentials;
use crate::wire::{Coding, Opcode, Version, code, put};

const AUTH_SUCCESS: u8 = 0x10;
const AUTHENTICATE: u8 = 0x03;

/// A house that only tom with this password may enter.
async fn closed_house(version: Version, test: impl AsyncFnOnce(&mut House)) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("tom:{hash}\n")).unwrap();
    let terms = Terms {
        version,
        config: config(),
        users: Some(Arc::new(Users::load(path).unwrap())),
    };
    house_of(terms, test).await;
}

fn claim(version: Version, stream: i16, username: &str, password: &str) -> Vec<u8> {
    let mut body = Vec::new();
    Credentials { username, password }.put(&mut body);
    frame(version, stream, Opcode::AuthResponse, &body)
}

async fn greeted(house: &House, version: Version) -> Stranger {
    let mut client = house.client().await;
    client.send(&startup(version)).await;
    let asked = client.answer().await;
    assert_eq!(asked.opcode, AUTHENTICATE);
    let mut class = Vec::new();
    put::string(
        &mut class,
        "org.apache.cassandra.auth.PasswordAuthenticator",
    );
    assert_eq!(asked.body, class);
    client
}

#[tokio::test]
async fn whoever_is_known_is_let_in() {
    for version in [Version::V3, Version::V4] {
        closed_house(version, async |house| {
            let mut client = greeted(house, version).await;
            client.send(&claim(version, 7, "tom", "secret")).await;
            let answer = client.answer().await;
            assert_eq!((answer.opcode, answer.stream), (AUTH_SUCCESS, 7));
            assert_eq!(answer.body, [0, 0, 0, 0]);
            client
                .send(&frame(version, 1, Opcode::Query, b"hello"))
                .await;
            assert_eq!(client.answer().await.text(), "hello");
        })
        .await;
    }
}

#[tokio::test]
async fn in_version_5_credentials_come_in_segments() {
    closed_house(Version::V5, async |house| {
        for (lz4, options) in [
            (false, &["CQL_VERSION", "3.0.0"][..]),
            (true, &["CQL_VERSION", "3.0.0", "COMPRESSION", "lz4"]),
        ] {
            let mut wrapped = Vec::new();
            let query = frame(Version::V5, 1, Opcode::Query, b"hello");
            let frames = [claim(Version::V5, 0, "tom", "secret"), query].concat();
            Coding::Segments { lz4 }.seal(&frames, &mut wrapped, &mut Tools::default());
            let mut client = house.client().await;
            client.send(&[startup_v5(options), wrapped].concat()).await;
            let asked = client.answer().await;
            assert_eq!((asked.version, asked.opcode), (5, AUTHENTICATE));
            let answers = unwrapped(&mut client, lz4, 9 + 4 + 9 + 5).await;
            assert_eq!((answers[0], answers[4]), (0x85, AUTH_SUCCESS));
            assert_eq!(answers[9 + 4 + 9..], *b"hello");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_said_behind_the_credentials_waits_for_them() {
    closed_house(Version::V4, async |house| {
        let mut client = greeted(house, Version::V4).await;
        let both = [claim(Version::V4, 0, "tom", "secret"), query(1, "hello")].concat();
        client.send(&both).await;
        assert_eq!(client.answer().await.opcode, AUTH_SUCCESS);
        assert_eq!(client.answer().await.text(), "hello");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_not_known_is_told_so_and_closed() {
    closed_house(Version::V4, async |house| {
        for (name, password) in [("tom", "Secret"), ("tim", "secret"), ("", "")] {
            let mut client = greeted(house, Version::V4).await;
            let guesses = [
                claim(Version::V4, 3, name, password),
                claim(Version::V4, 4, "tom", "secret"),
                query(1, "hello"),
            ];
            client.send(&guesses.concat()).await;
            let (code, sentence) = client.answer().await.error();
            assert_eq!(code, code::BAD_CREDENTIALS);
            let expected = format!("Provided username {name} and/or password are incorrect");
            assert_eq!(sentence, expected);
            client.closed().await;
        }
        assert_eq!(house.echo.seen.get(), 0, "no request came through");
    })
    .await;
}

#[tokio::test]
async fn before_the_credentials_nothing_else_is_taken() {
    closed_house(Version::V4, async |house| {
        let mut client = greeted(house, Version::V4).await;
        let others = [
            (query(1, "hello"), "QUERY"),
            (options(1), "OPTIONS"),
            (startup(Version::V4), "STARTUP"),
            (register(Version::V4, 1, "SCHEMA_CHANGE"), "REGISTER"),
        ];
        for (bytes, name) in others {
            client.send(&bytes).await;
            let (code, sentence) = client.answer().await.error();
            assert_eq!(code, code::PROTOCOL_ERROR);
            let expected =
                format!("Unexpected message {name}, needs authentication through AUTH_RESPONSE");
            assert_eq!(sentence, expected);
        }
        let garbage = frame(Version::V4, 1, Opcode::AuthResponse, b"\0\0\0\x01x");
        client.send(&garbage).await;
        assert_eq!(client.answer().await.error().0, code::PROTOCOL_ERROR);
        client.send(&claim(Version::V4, 7, "tom", "secret")).await;
        assert_eq!(client.answer().await.opcode, AUTH_SUCCESS);
        // A second time it is out of place.
        client.send(&claim(Version::V4, 7, "tom", "secret")).await;
        assert_eq!(client.answer().await.error().0, code::PROTOCOL_ERROR);
        assert_eq!(house.echo.seen.get(), 0, "no request came through");
    })
    .await;
}

#[tokio::test]
async fn whoever_leaves_while_it_is_checked_troubles_nobody() {
    closed_house(Version::V4, async |house| {
        for _ in 0..20 {
            let mut client = greeted(house, Version::V4).await;
            client.send(&claim(Version::V4, 0, "tom", "wrong")).await;
        }
        house.holds(0).await;
        let mut client = greeted(house, Version::V4).await;
        client.send(&claim(Version::V4, 7, "tom", "secret")).await;
        assert_eq!(client.answer().await.opcode, AUTH_SUCCESS);
    })
    .await;
}
