//! Clients that compress.

use super::support::{Stranger, bytes, config, house, query};
use crate::session::Config;
use crate::wire::coding::{Tools, open_body};
use crate::wire::header::{Direction, FLAG_COMPRESSED};
use crate::wire::{Coding, Compression, Opcode, Version, put};

const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Snappy];

fn startup(compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    let way = (Version::V4, Direction::Request);
    let begun = put::begin(&mut out, way, 0, 0, Opcode::Startup);
    put::u16(&mut out, 2);
    for word in ["CQL_VERSION", "3.0.0", "COMPRESSION", compression.name()] {
        put::string(&mut out, word);
    }
    put::end(&mut out, begun);
    out
}

fn sealed(compression: Compression, frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Coding::Bodies(compression).seal(frames, &mut out, &mut Tools::default());
    out
}

/// The next answer's text, and whether it came compressed.
async fn text(client: &mut Stranger, compression: Compression) -> (String, bool) {
    let mut answer = client.answer().await;
    let is_compressed = answer.flags & FLAG_COMPRESSED != 0;
    if is_compressed {
        let mut room = Vec::new();
        open_body(compression, &answer.body, 1_000_000, &mut room).unwrap();
        answer.body = room;
    }
    (answer.text(), is_compressed)
}

#[tokio::test]
async fn requests_and_answers_are_compressed_as_startup_asked_and_plain_ones_pass() {
    house(config(), async |house| {
        for compression in BOTH {
            let mut client = house.client().await;
            // The request behind STARTUP does not wait for READY.
            let long = "echo ".repeat(100);
            let first = sealed(compression, &query(1, &long));
            assert!(first.len() < 200);
            client.send(&[startup(compression), first].concat()).await;
            let ready = client.answer().await;
            assert_eq!((ready.opcode, ready.flags), (0x02, 0));
            let answer = text(&mut client, compression).await;
            assert_eq!(answer, (long.clone(), true));
            // A frame without the flag is not compressed, whatever was agreed on.
            client.send(&query(2, "short")).await;
            let answer = text(&mut client, compression).await;
            assert_eq!(answer, ("short".to_owned(), false));
            client.send(&query(3, &long)).await;
            assert_eq!(text(&mut client, compression).await, (long, true));
        }
        house.serves_others().await;
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_decompress_costs_its_connection_and_the_answer_says_why() {
    let frame = |body: &[u8]| {
        let mut out = Vec::new();
        let way = (Version::V4, Direction::Request);
        let begun = put::begin(&mut out, way, FLAG_COMPRESSED, 5, Opcode::Query);
        out.extend_from_slice(body);
        put::end(&mut out, begun);
        out
    };
    let bomb = [&0x7FFF_FFFF_u32.to_be_bytes()[..], &[0x1F, b'a', 1, 0, 255]].concat();
    let large = sealed(Compression::Lz4, &query(1, &"x".repeat(3_000)));
    let cases = [
        (Compression::Lz4, frame(&bomb), "bytes are claimed"),
        (Compression::Lz4, frame(&[0, 0, 0]), "damaged"),
        (Compression::Lz4, frame(&[0, 0, 0, 9, 0xF0, 1]), "damaged"),
        (Compression::Lz4, large, "the limit is 1000"),
        (Compression::Snappy, frame(&[0xFF; 11]), "damaged"),
        (Compression::Snappy, frame(&[5, 0xFF, 0xFF]), "damaged"),
    ];
    let small = Config {
        frame_max: bytes(1_000),
        ..config()
    };
    house(small, async |house| {
        for (compression, told, sentence) in cases {
            let mut client = house.client().await;
            client.send(&startup(compression)).await;
            assert_eq!(client.answer().await.opcode, 0x02);
            client.send(&told).await;
            let (code, said) = client.answer().await.error();
            assert_eq!(code, 0x000A);
            assert!(said.contains(sentence), "{said}");
            client.closed().await;
        }
        house.serves_others().await;
    })
    .await;
}
