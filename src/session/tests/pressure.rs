//! T14: Clients that ask for much, or take little.

use super::support::{Stranger, config, eventually, house, in_flight, options, query};
use crate::session::Config;
use crate::session::sessions::Stay;
use crate::wire::Version;

const BIG: usize = 65_536;

#[tokio::test]
async fn t12_requests_beyond_those_in_flight_wait_unread_and_all_are_answered_once() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        let asked: Vec<u8> = (0..3_000)
            .flat_map(|stream| query(stream, "hold"))
            .collect();
        client.send(&asked).await;
        eventually(|| house.echo.seen.get() == 2_048).await;
        house.serves_others().await;
        assert_eq!(house.echo.held.borrow().len(), 2_048);

        for expected in 0..3_000 {
            eventually(|| house.echo.release()).await;
            assert_eq!(client.answer().await.stream, expected);
        }
        assert!(!house.echo.release());
        client.send(&query(1, "and on")).await;
        assert_eq!(client.answer().await.text(), "and on");
    })
    .await;
}

#[tokio::test]
async fn a_client_with_one_request_at_a_time_is_answered_in_order() {
    let one = Config {
        in_flight_max: in_flight(1),
        ..config()
    };
    house(one, async |house| {
        let mut client = house.started(Version::V4).await;
        let asked = [query(1, "hold"), query(2, "next"), options(3)].concat();
        client.send(&asked).await;
        eventually(|| house.echo.seen.get() == 1).await;
        assert!(house.echo.release());
        for stream in 1..=3 {
            assert_eq!(client.answer().await.stream, stream);
        }
    })
    .await;
}

#[tokio::test]
async fn t14_a_client_that_never_reads_stalls_only_itself() {
    house(config(), async |house| {
        let mut greedy = house.started(Version::V4).await;
        let mut asked = 0;
        // Until the proxy reads no more and the socket takes nothing either.
        while write_some(&mut greedy, asked) {
            asked += 1;
            house.serves_others().await;
        }
        let seen = house.echo.seen.get();
        house.serves_others().await;
        assert_eq!(house.echo.seen.get(), seen + 1);

        let taken = greedy.answer().await;
        assert_eq!((taken.stream, taken.body.len()), (0, BIG));
        for stream in 1..1_000 {
            assert_eq!(greedy.answer().await.stream, stream);
        }
    })
    .await;
}

/// Asks for a thousand big answers at a time, as far as the socket takes it.
fn write_some(client: &mut Stranger, round: i16) -> bool {
    let asked: Vec<u8> = (0..1_000)
        .flat_map(|stream| query(stream, &format!("big {BIG}")))
        .collect();
    match client.0.try_write(&asked) {
        Ok(sent) => sent == asked.len() && round < 1_000,
        Err(_full) => false,
    }
}

#[tokio::test]
async fn answers_to_a_client_that_left_are_dropped() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        client
            .send(&[query(1, "hold"), query(2, "hold")].concat())
            .await;
        eventually(|| house.echo.seen.get() == 2).await;
        drop(client);
        house.holds(0).await;
        assert!(house.echo.release() && house.echo.release());
        house.serves_others().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_take_its_last_words_is_cut_off_at_the_second_sweep() {
    house(config(), async |house| {
        let stay = Stay::new(&house.sessions, &house.echo, (house.address, 1));
        house.sessions.expect_end(&stay.session);
        house.sessions.sweep();
        assert!(!stay.session.outbox.is_closed());
        house.sessions.sweep();
        assert!(stay.session.outbox.is_closed());
    })
    .await;
}

#[tokio::test]
async fn large_answers_hold_back_the_requests_that_would_bring_more() {
    house(config(), async |house| {
        let mut client = house.started(Version::V4).await;
        client.send(&query(1, "big 2000000")).await;
        assert_eq!(client.answer().await.body.len(), 2_000_000);
        client.send(&query(2, "hold").repeat(100)).await;
        // Nine of them may bring 18 MB.
        eventually(|| house.echo.seen.get() == 1 + 9).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(house.echo.seen.get(), 1 + 9);
        // What comes is small: more is taken at a time, until all were.
        for _answer in 0..100 {
            eventually(|| house.echo.release()).await;
            assert_eq!(client.answer().await.text(), "released");
        }
        assert_eq!(house.echo.seen.get(), 1 + 100);
    })
    .await;
}
