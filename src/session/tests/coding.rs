//! Clients that compress, and those of version 5.

use super::support::{Stranger, bytes, config, frame, house, house_up_to, query};
use crate::session::Config;
use crate::wire::coding::{Segment, Tools, open_body};
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

/// A STARTUP of version 5.
pub(super) fn startup_v5(options: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    put::u16(&mut body, u16::try_from(options.len() / 2).unwrap());
    for word in options {
        put::string(&mut body, word);
    }
    frame(Version::V5, 0, Opcode::Startup, &body)
}

/// What the next segments of a client hold, at least so many bytes.
pub(super) async fn unwrapped(client: &mut Stranger, lz4: bool, least: usize) -> Vec<u8> {
    let (mut wrapped, mut plain, mut room) = (Vec::new(), Vec::new(), Vec::new());
    while plain.len() < least {
        wrapped.extend(client.some().await);
        while let Some((segment, rest)) = Segment::scan(lz4, &wrapped).unwrap() {
            plain.extend_from_slice(segment.open(&mut room).unwrap());
            wrapped = rest.to_vec();
        }
    }
    plain
}

#[tokio::test]
async fn version_5_speaks_in_segments_once_startup_is_answered() {
    house_up_to(Version::V5, config(), async |house| {
        for (lz4, options) in [
            (false, &["CQL_VERSION", "3.0.0"][..]),
            (true, &["CQL_VERSION", "3.0.0", "COMPRESSION", "lz4"]),
        ] {
            let coding = Coding::Segments { lz4 };
            let long = "echo ".repeat(60_000);
            let ask =
                |stream, text: &str| frame(Version::V5, stream, Opcode::Query, text.as_bytes());
            let mut wrapped = Vec::new();
            let frames = [ask(1, "first"), ask(2, &long), ask(3, "third")].concat();
            coding.seal(&frames, &mut wrapped, &mut Tools::default());
            let mut client = house.client().await;
            // All in one go: what stands behind STARTUP is in segments already.
            client.send(&[startup_v5(options), wrapped].concat()).await;
            let ready = client.answer().await;
            assert_eq!((ready.version, ready.opcode), (5, 0x02));
            let answers = unwrapped(&mut client, lz4, frames.len()).await;
            // The echo answers each body as it came.
            let mut expected = frames.clone();
            let starts = [0, 9 + 5, 9 + 5 + 9 + long.len()];
            for start in starts {
                expected[start] = 0x85;
                expected[start + 4] = 0x08;
            }
            assert!(answers == expected, "lz4 {lz4}");
        }
    })
    .await;
}

#[tokio::test]
async fn in_version_5_ready_to_register_comes_in_a_segment() {
    house_up_to(Version::V5, config(), async |house| {
        let mut client = house.client().await;
        client.send(&startup_v5(&["CQL_VERSION", "3.0.0"])).await;
        assert_eq!(client.answer().await.opcode, 0x02);
        let mut body = vec![0, 1];
        put::string(&mut body, "SCHEMA_CHANGE");
        let asked = frame(Version::V5, 7, Opcode::Register, &body);
        let (mut wrapped, coding) = (Vec::new(), Coding::Segments { lz4: false });
        coding.seal(&asked, &mut wrapped, &mut Tools::default());
        client.send(&wrapped).await;
        let ready = unwrapped(&mut client, false, 9).await;
        assert_eq!(ready, [0x85, 0, 0, 7, 0x02, 0, 0, 0, 0]);
    })
    .await;
}

/// T4: around the most that one segment holds, and last segments shorter than a header, both ways.
#[tokio::test]
async fn t4_frames_as_long_as_segments_and_a_little_more() {
    const SEGMENT_MAX: usize = 131_071;
    let around = [
        SEGMENT_MAX - 1,
        SEGMENT_MAX,
        SEGMENT_MAX + 1,
        SEGMENT_MAX + 2,
    ];
    let behind = (1..=9).map(|over| 2 * SEGMENT_MAX + over);
    let lengths: Vec<_> = around.into_iter().chain(behind).collect();
    house_up_to(Version::V5, config(), async |house| {
        for (lz4, options) in [
            (false, &["CQL_VERSION", "3.0.0"][..]),
            (true, &["CQL_VERSION", "3.0.0", "COMPRESSION", "lz4"]),
        ] {
            let mut client = house.client().await;
            client.send(&startup_v5(options)).await;
            assert_eq!(client.answer().await.opcode, 0x02);
            for &length in &lengths {
                // Not one letter again and again: it must stay long when it is compressed.
                let body: Vec<u8> = (0..length - 9)
                    .map(|at| b'a' + u8::try_from((at * at / 7) % 26).unwrap())
                    .collect();
                let asked = frame(Version::V5, 1, Opcode::Query, &body);
                assert_eq!(asked.len(), length);
                let mut wrapped = Vec::new();
                Coding::Segments { lz4 }.seal(&asked, &mut wrapped, &mut Tools::default());
                client.send(&wrapped).await;
                let answer = unwrapped(&mut client, lz4, length).await;
                assert_eq!(answer.len(), length, "lz4 {lz4}");
                assert!(answer[9..] == body, "lz4 {lz4}, {length} bytes");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_damaged_segment_costs_its_connection_and_snappy_is_refused_in_version_5() {
    house_up_to(Version::V5, config(), async |house| {
        let plain = ["CQL_VERSION", "3.0.0"];
        let mut client = house.client().await;
        client.send(&startup_v5(&plain)).await;
        assert_eq!(client.answer().await.opcode, 0x02);
        let mut wrapped = Vec::new();
        let ask = frame(Version::V5, 1, Opcode::Query, b"any");
        Coding::Segments { lz4: false }.seal(&ask, &mut wrapped, &mut Tools::default());
        wrapped[8] ^= 1;
        client.send(&wrapped).await;
        let told = unwrapped(&mut client, false, 9).await;
        assert_eq!(told[4], 0x00);
        assert!(String::from_utf8_lossy(&told).contains("checksum"));
        client.closed().await;

        let mut client = house.client().await;
        let snappy = [&plain[..], &["COMPRESSION", "snappy"]].concat();
        client.send(&startup_v5(&snappy)).await;
        let (code, told) = client.answer().await.error();
        assert_eq!(code, 0x000A);
        assert!(told.contains("Snappy"), "{told}");
        // It may ask for something else.
        client.send(&startup_v5(&plain)).await;
        assert_eq!(client.answer().await.opcode, 0x02);
        house.serves_others().await;
    })
    .await;
}
