//! Leaving: what was taken is answered, what was not is left to the driver.

use tokio::net::TcpStream;

use super::support::{GRACE, Stranger, config, eventually, house, query};
use crate::wire::Version;

#[tokio::test]
async fn told_to_stop_it_answers_what_is_in_flight_and_closes() {
    house(config(), async |house| {
        let mut idle = house.started(Version::V4).await;
        let mut young = house.client().await;
        let mut busy = house.started(Version::V4).await;
        busy.send(&query(1, "hold")).await;
        eventually(|| house.echo.seen.get() == 1).await;

        house.stop.send(true).unwrap();
        idle.closed().await;
        young.closed().await;
        busy.send(&query(2, "too late")).await;
        tokio::task::yield_now().await;
        assert!(!house.served.is_finished());

        assert!(house.echo.release());
        assert_eq!(busy.answer().await.text(), "released");
        busy.closed().await;
        assert_eq!(house.echo.seen.get(), 1);
        drop((idle, young, busy));
        (&mut house.served).await.unwrap();
        assert!(house.sessions.is_empty());
    })
    .await;
}

#[tokio::test]
async fn whoever_is_not_done_within_the_grace_is_cut_off() {
    house(config(), async |house| {
        let mut busy = house.started(Version::V4).await;
        busy.send(&query(1, "hold")).await;
        eventually(|| house.echo.seen.get() == 1).await;
        // No byte travels from here on, so time may run ahead.
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        house.stop.send(true).unwrap();
        (&mut house.served).await.unwrap();
        assert!(GRACE <= began.elapsed());
        tokio::time::resume();
        busy.closed().await;
        assert!(house.echo.release());
    })
    .await;
}

#[tokio::test]
async fn nobody_connects_any_more() {
    house(config(), async |house| {
        house.serves_others().await;
        house.stop.send(true).unwrap();
        (&mut house.served).await.unwrap();
        while let Ok(late) = TcpStream::connect(house.address).await {
            Stranger(late).closed().await;
        }
    })
    .await;
}
