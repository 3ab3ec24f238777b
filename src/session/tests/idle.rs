//! What a client costs that does nothing. By hand, on a build that is optimised:
//! `cargo test --release --lib session::tests::idle -- --ignored --nocapture`

use super::support::{House, Stranger, config, eventually, house, options, query};
use crate::wire::Version;

/// Both ends are in this process; the usual limit is 20,000 descriptors.
const CLIENTS: usize = 9_500;

#[tokio::test]
#[ignore = "measures; by hand"]
async fn nine_thousand_idle_clients_cost_little() {
    house(config(), async |house: &mut House| {
        let mut clients = Vec::with_capacity(CLIENTS);
        clients.push(house.started(Version::V4).await);
        let before = resident();
        for _ in 1..CLIENTS {
            let mut client = house.started(Version::V4).await;
            client.send(&[options(1), query(2, "once")].concat()).await;
            assert_eq!(client.answer().await.opcode, 0x06);
            assert_eq!(client.answer().await.text(), "once");
            clients.push(client);
        }
        house.holds(CLIENTS).await;
        report("open", resident() - before);
        let ends: Vec<std::net::TcpStream> = clients.into_iter().map(plain).collect();
        report("open, without the clients' ends", resident() - before);
        drop(ends);
        eventually(|| house.sessions.is_empty()).await;
        report("all gone", resident().saturating_sub(before));
    })
    .await;
}

/// A client's end costs nothing here once it is not of the runtime.
fn plain(client: Stranger) -> std::net::TcpStream {
    client.0.into_std().unwrap()
}

fn report(what: &str, bytes: usize) {
    println!("{what}: {} bytes a client", bytes / CLIENTS);
}

/// Resident memory in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib: usize = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse().ok())
        .unwrap();
    kib * 1024
}
