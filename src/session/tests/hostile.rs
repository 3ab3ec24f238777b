//! T12: Bytes of strangers: an error or a closed connection, and nobody else's trouble.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::support::{bytes, config, frame, house, in_flight, options, query, startup};
use crate::session::Config;
use crate::session::outlet::Session;
use crate::session::strangers::Strangers;
use crate::wire::{Opcode, Version};

#[tokio::test]
async fn t12_a_first_frame_that_is_none_is_told_so_and_the_connection_closes() {
    let version = |number| {
        format!(
            "Invalid or unsupported protocol version ({number}); \
             the lowest supported version is 3 and the greatest is 4"
        )
    };
    let cases: [(&[u8], i16, String); 12] = [
        (&[5, 0, 0, 1, 5, 0, 0, 0, 0], 0, version(5)),
        (&[5, 0x10, 0, 1, 5, 0, 0, 0, 0], 0, version(5)),
        (&[6, 0x10, 0, 1, 5, 0, 0, 0, 0], 0, version(6)),
        (&[1, 0, 1, 5, 0, 0, 0, 0], 0, version(1)),
        (&[2], 0, version(2)),
        (b"GET / HTTP/1.1\r\n\r\n", 0, version(0x47)),
        (&[22, 3, 1, 2, 0, 1, 0, 1], 0, version(22)),
        (
            &[4, 0, 0, 9, 0x77, 0, 0, 0, 0],
            9,
            "unknown opcode 0x77".to_owned(),
        ),
        (
            &[4, 0, 0, 9, 0x08, 0, 0, 0, 0],
            9,
            "unknown opcode 0x08".to_owned(),
        ),
        (
            &[4, 0, 0xFF, 0xFF, 5, 0, 0, 0, 0],
            0,
            "stream id -1 is negative; a client's must not be".to_owned(),
        ),
        (
            &[4, 0, 0, 9, 1, 0, 2, 0, 1],
            9,
            "a body of 131073 bytes is above the limit of 131072".to_owned(),
        ),
        (
            &[4, 0, 0, 9, 5, 0xFF, 0xFF, 0xFF, 0xFF],
            9,
            "a body of 4294967295 bytes is above the limit of 131072".to_owned(),
        ),
    ];
    house(config(), async |house| {
        for (told, stream, sentence) in cases {
            let mut client = house.client().await;
            client.send(told).await;
            let answer = client.answer().await;
            assert_eq!((answer.version, answer.stream), (4, stream), "{told:?}");
            assert_eq!(answer.error(), (0x000A, sentence));
            client.closed().await;
        }
        house.serves_others().await;
    })
    .await;
}

#[tokio::test]
async fn after_ready_a_broken_frame_costs_the_connection_and_its_answer_is_read() {
    let long = frame(Version::V4, 3, Opcode::Query, &[b'x'; 2_000]);
    let mut negative = query(1, "x");
    negative[2] = 0x80;
    let mut flagged = query(3, "x");
    flagged[1] = 0x80;
    let mut compressed = query(3, "x");
    compressed[1] = 0x01;
    let other = frame(Version::V3, 3, Opcode::Query, b"x");
    let cases = [
        (long, 3, "a body of 2000 bytes is above the limit of 1000"),
        (negative, 0, "stream id -32767 is negative"),
        (flagged, 3, "Unknown header flags 0x80"),
        (compressed, 3, "no compression was negotiated"),
        (other, 3, "Got 3/v3 but previous messages"),
        (vec![0x16, 3, 1], 0, "protocol version (22)"),
    ];
    let small = Config {
        frame_max: bytes(1_000),
        ..config()
    };
    house(small, async |house| {
        for (told, stream, sentence) in cases {
            let mut client = house.started(Version::V4).await;
            // What follows is unread when the connection closes; the answer arrives all the same.
            let rest = query(9, "unread").repeat(100);
            client.send(&[told, rest].concat()).await;
            let answer = client.answer().await;
            assert_eq!(answer.stream, stream);
            let (code, told) = answer.error();
            assert_eq!(code, 0x000A);
            assert!(told.contains(sentence), "{told}");
            client.closed().await;
        }
        house.serves_others().await;
    })
    .await;
}

#[tokio::test]
async fn garbage_after_startup_is_one_clients_trouble() {
    house(config(), async |house| {
        let mut seed = 0x9E37_79B9_u32;
        for _ in 0..64 {
            let mut garbage = startup(Version::V4);
            for _ in 0..512 {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                garbage.push(seed.to_be_bytes()[0]);
            }
            let mut client = house.client().await;
            client.send(&garbage).await;
            assert_eq!(client.answer().await.opcode, 0x02);
            // Whatever it was taken for, it did not last.
            drop(client);
        }
        house.holds(0).await;
        house.serves_others().await;
    })
    .await;
}

#[tokio::test]
async fn t12_a_startup_that_is_malformed_or_wants_an_unknown_compression_is_refused() {
    let compression = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let mut body = vec![0, 2, 0, 11];
        body.extend_from_slice(b"CQL_VERSION\0\x053.0.0\0\x0BCOMPRESSION\0");
        body.push(length);
        body.extend_from_slice(name.as_bytes());
        body
    };
    let cases = [
        (vec![], "Malformed STARTUP message"),
        (vec![0xFF, 0xFF, 0, 1], "Malformed STARTUP message"),
        (vec![0, 0], "Missing value CQL_VERSION"),
        (compression("zstd"), "Unknown compression algorithm: zstd"),
        (compression("lz5"), "Unknown compression algorithm: lz5"),
    ];
    house(config(), async |house| {
        for (body, sentence) in cases {
            let mut client = house.client().await;
            client
                .send(&frame(Version::V4, 1, Opcode::Startup, &body))
                .await;
            let (code, told) = client.answer().await.error();
            assert_eq!(code, 0x000A);
            assert!(told.contains(sentence), "{told}");
            client.send(&query(2, "x")).await;
            assert_eq!(client.answer().await.error().0, 0x000A);
        }
        assert_eq!(house.echo.seen.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn whoever_is_not_ready_in_time_is_let_go() {
    let start = startup(Version::V4);
    let said: [&[u8]; 4] = [&[], &[4, 0, 0], &start[..20], &options(1)];
    house(config(), async |house| {
        for said in said {
            let mut client = house.client().await;
            client.send(said).await;
            house.holds(1).await;
            pass(Duration::from_secs(9)).await;
            assert_eq!(house.sessions.len(), 1);
            pass(Duration::from_secs(2)).await;
            if said == options(1) {
                assert_eq!(client.answer().await.opcode, 0x06);
            }
            client.closed().await;
            house.holds(0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out_and_takes_half_of_the_seats_at_most() {
    let some = Config {
        clients_max: in_flight(136),
        ..config()
    };
    house(some, async |house| {
        let mut guests = [
            house.started(Version::V4).await,
            house.started(Version::V4).await,
        ];
        let mut crowd = VecDeque::new();
        for _ in 0..68 {
            crowd.push_back(house.client().await);
        }
        house.holds(70).await;
        pass(Duration::from_secs(2)).await;
        for round in 0..20 {
            crowd.push_back(house.client().await);
            // Who has waited longest makes room.
            crowd.pop_front().unwrap().closed().await;
            house.holds(70).await;
            let mut newcomer = house.started(Version::V4).await;
            newcomer.send(&query(1, "let in")).await;
            assert_eq!(newcomer.answer().await.text(), "let in", "round {round}");
            // It made another one leave.
            crowd.pop_front().unwrap().closed().await;
            drop(newcomer);
            crowd.push_back(house.client().await);
            house.holds(70).await;
        }
        for guest in &mut guests {
            guest.send(&query(1, "served")).await;
            assert_eq!(guest.answer().await.text(), "served");
        }
    })
    .await;
}

#[tokio::test]
async fn those_who_came_just_now_are_not_hung_up_on_however_many_they_are() {
    let few = Config {
        clients_max: in_flight(136),
        ..config()
    };
    house(few, async |house| {
        // All at once and slowly, as after a restart.
        let mut crowd = Vec::new();
        for _ in 0..120 {
            crowd.push(house.client().await);
        }
        house.holds(120).await;
        for client in &mut crowd {
            client.start(Version::V4).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_says_who_it_is_makes_room_for_others_and_is_not_hung_up_on() {
    house(config(), async |house| {
        let sessions: Vec<_> = (0..5)
            .map(|_| Session::new(&house.echo, house.address))
            .collect();
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        assert!(strangers.enter(&sessions[0], 2, now).is_none());
        assert!(strangers.enter(&sessions[1], 2, now).is_none());
        strangers.leave(&sessions[0]);
        strangers.leave(&sessions[0]);
        assert!(strangers.enter(&sessions[2], 2, now).is_none(), "two wait");
        let soon = now + Duration::from_millis(500);
        let crowded = strangers.enter(&sessions[3], 2, soon);
        assert!(crowded.is_none(), "three wait, and none for long");
        let late = now + Duration::from_secs(2);
        let longest = strangers.enter(&sessions[4], 2, late).expect("four wait");
        assert!(Rc::ptr_eq(&longest, &sessions[1]));
    })
    .await;
}

#[tokio::test]
async fn options_may_be_asked_several_times_before_ready_but_not_for_ever() {
    house(config(), async |house| {
        let mut patient = house.client().await;
        patient.send(&options(1).repeat(12)).await;
        for _ in 0..12 {
            assert_eq!(patient.answer().await.opcode, 0x06);
        }
        patient.start(Version::V4).await;
        let mut chatterer = house.client().await;
        chatterer.send(&options(1).repeat(20)).await;
        for _ in 0..16 {
            assert_eq!(chatterer.answer().await.opcode, 0x06);
        }
        let told = chatterer.answer().await.error();
        assert_eq!(told, (0x000A, "Too many messages before READY".to_owned()));
        chatterer.closed().await;
        patient.send(&options(1).repeat(40)).await;
        for _ in 0..40 {
            assert_eq!(patient.answer().await.opcode, 0x06, "after READY");
        }
    })
    .await;
}

#[tokio::test]
async fn after_ready_silence_is_fine_even_within_a_frame() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        let request = query(1, "at last");
        let (head, tail) = request.split_at(12);
        client.send(head).await;
        pass(Duration::from_secs(3_600)).await;
        house.serves_others().await;
        client.send(tail).await;
        assert_eq!(client.answer().await.text(), "at last");
    })
    .await;
}

/// Lets time pass, and whoever waited for it run.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
}

#[tokio::test]
async fn a_panic_ends_one_connection() {
    house(config(), async |house| {
        let mut bystander = house.started(Version::V4).await;
        let mut unlucky = house.started(Version::V4).await;
        unlucky.send(&query(1, "panic")).await;
        unlucky.closed().await;
        bystander.send(&query(1, "unharmed")).await;
        assert_eq!(bystander.answer().await.text(), "unharmed");
        house.holds(1).await;
        house.serves_others().await;
    })
    .await;
}
