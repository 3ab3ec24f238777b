//! What versions and clusters that differ mean for one client, and must not mean for the others.

mod client;
mod node;
mod stage;

use std::rc::Rc;
use std::time::Duration;

use client::Client;
use helix_proxy::pair::{Pair, Side};
use helix_proxy::wire::Version;
use node::Node;
use stage::staged;

const SELECT: &str = "SELECT * FROM ks.t WHERE k = 1";
const NO_METADATA: i32 = 0x04;

fn two_that_differ() -> Pair<Rc<Node>> {
    Pair::new(
        Node::new(b'a', &["k", "v"]),
        Node::new(b'b', &["k", "u", "v"]),
    )
}

fn two_alike() -> Pair<Rc<Node>> {
    Pair::new(Node::new(b'a', &["k", "v"]), Node::new(b'b', &["k", "v"]))
}

/// Executes until the other side has been asked for its columns, too.
async fn compared(client: &mut Client, statement: &(Vec<u8>, Vec<u8>)) {
    client.execute(statement).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// A client that leaves the columns out reads what comes with those that it was shown, whoever else
/// was shown others meanwhile.
#[tokio::test]
async fn v4_a_second_prepare_elsewhere_does_not_change_what_the_first_client_was_shown() {
    staged(two_that_differ(), async |stage| {
        let mut first = stage.client(Version::V4).await;
        let statement = first.prepare(SELECT).await;
        stage.nodes.a.is_overloaded.set(true);
        // B's columns are not those it was shown.
        assert_eq!(first.execute(&statement).await & NO_METADATA, 0);
        // Another client, or the same driver on a new connection, prepares it; B answers.
        let mut second = stage.client(Version::V4).await;
        assert_eq!(second.prepare(SELECT).await, statement);
        // The first client still knows A's two columns only; B's rows have three.
        assert_eq!(first.execute(&statement).await & NO_METADATA, 0);
    })
    .await;
}

/// The other way round: the one that was shown B's columns, once A is back.
#[tokio::test]
async fn v4_the_client_that_was_shown_the_other_columns_is_sent_columns_too() {
    staged(two_that_differ(), async |stage| {
        let mut first = stage.client(Version::V4).await;
        let statement = first.prepare(SELECT).await;
        stage.nodes.a.is_overloaded.set(true);
        let mut second = stage.client(Version::V4).await;
        assert_eq!(second.prepare(SELECT).await, statement);
        stage.nodes.a.is_overloaded.set(false);
        let mut third = stage.client(Version::V4).await;
        assert_eq!(third.prepare(SELECT).await, statement);
        // Shown B's columns, reads A.
        assert_eq!(second.execute(&statement).await & NO_METADATA, 0);
    })
    .await;
}

/// While one request of a client is answered by A, another may have its columns changed by B: a driver
/// that looks them up when the answer comes would read the one with the other's.
#[tokio::test]
async fn v5_rows_come_with_their_columns_where_the_clusters_columns_differ() {
    staged(two_that_differ(), async |stage| {
        let mut client = stage.client(Version::V5).await;
        let statement = client.prepare(SELECT).await;
        stage.nodes.a.is_overloaded.set(true);
        // B says METADATA_CHANGED; the client's statement now stands for B's columns.
        assert_eq!(client.execute(&statement).await & 0x08, 0x08);
        stage.nodes.a.is_overloaded.set(false);
        // One that was sent with A's id and is answered afterwards.
        let flags = client.execute(&statement).await;
        assert_eq!(flags & NO_METADATA, 0, "A left its columns out");
    })
    .await;
}

/// Cassandra from 4.0 closes a connection of version 5 after two messages in a row that it cannot
/// decode: what it could not must not reach the connection that all share.
#[tokio::test]
async fn v5_one_clients_nonsense_does_not_cost_the_connection_that_others_use() {
    staged(two_that_differ(), async |mut stage| {
        let mut good = stage.client(Version::V5).await;
        let mut bad = stage.client(Version::V5).await;
        let slow = good.query("SELECT slow FROM ks.t WHERE k = 1", 1, None);
        good.send(0x07, &slow, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let nonsense = bad.query("INSERT INTO ks.t (k, v) VALUES (1, 2)", 0xFFFF, None);
        for _ in 0..3 {
            bad.send(0x07, &nonsense, 2).await;
            for _ in 0..2 {
                let _refused = bad.wire.read().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let closed = stage.nodes.as_ref().map(|_, node| node.closed.get());
        let strikes = stage.strikes();
        assert_eq!(
            ((closed.a, closed.b), strikes),
            ((0, 0), vec![]),
            "connections closed by the nodes, strikes"
        );
    })
    .await;
}

/// A keyspace that a node calls a syntax error (the empty one) says nothing about the node.
#[tokio::test]
async fn a_keyspace_without_a_name_costs_its_request_and_nothing_else() {
    for version in [Version::V5, Version::V4] {
        staged(two_that_differ(), async |mut stage| {
            let mut bad = stage.client(version).await;
            let body = match version {
                Version::V5 => bad.query("SELECT * FROM t WHERE k = 1", 1, Some("")),
                Version::V3 | Version::V4 => bad.query("USE \"\"", 1, None),
            };
            for _ in 0..4 {
                let got = bad.ask(0x07, &body).await;
                assert_eq!(got.opcode, 0x00);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            assert_eq!(stage.strikes(), [], "{version:?}");
        })
        .await;
    }
}

/// Messages of version 5 say their keyspace: a connection for each is what older ones need (S26).
#[tokio::test]
async fn v5_clients_of_many_keyspaces_share_a_connection() {
    staged(two_alike(), async |stage| {
        let mut client = stage.client(Version::V5).await;
        for keyspace in 0..40 {
            let keyspace = format!("ks{keyspace}");
            let insert = client.query("INSERT INTO t (k, v) VALUES (1, 2)", 1, Some(&keyspace));
            assert_eq!(client.ask(0x07, &insert).await.body, [0, 0, 0, 1]);
            client
                .prepare_in(Some(&keyspace), "SELECT v FROM t WHERE k = 1")
                .await;
        }
        let opened = stage.nodes.as_ref().map(|_, node| node.opened.get());
        assert_eq!((opened.a, opened.b), (1, 1));
    })
    .await;
}

/// An empty id of columns is no id, though a side that was taught in version 4 has none either.
#[tokio::test]
async fn v5_a_client_that_knows_no_columns_is_always_told_them() {
    staged(two_alike(), async |stage| {
        let mut old = stage.client(Version::V4).await;
        let statement = old.prepare(SELECT).await;
        // B is taught over version 4.
        stage.nodes.a.is_overloaded.set(true);
        old.execute(&statement).await;
        stage.nodes.a.is_overloaded.set(false);
        let mut new = stage.client(Version::V5).await;
        let (id, _columns) = new.prepare(SELECT).await;
        let flags = new.execute(&(id, Vec::new())).await;
        assert_eq!(flags & NO_METADATA, 0, "{:?}", stage.nodes.a.executed);
    })
    .await;
}

/// What each cluster calls the columns, and what a client hears when they change.
#[tokio::test]
async fn v5_the_same_columns_are_told_under_each_clusters_id() {
    staged(two_alike(), async |stage| {
        let mut client = stage.client(Version::V5).await;
        let (id, columns) = client.prepare(SELECT).await;
        assert_eq!(columns, stage.nodes.a.columns_id());
        let of_a = (id.clone(), columns);
        compared(&mut client, &of_a).await;
        assert_eq!(client.execute(&of_a).await, NO_METADATA);
        let stale = client.execute(&(id, vec![7; 16])).await;
        assert_eq!(stale & 0x08, 0x08);
        stage.nodes.a.is_overloaded.set(true);
        assert_eq!(client.execute(&of_a).await, NO_METADATA, "B by its own id");
    })
    .await;
}

/// Where both clusters have the same columns the rows go without, as the client asked.
#[tokio::test]
async fn v4_rows_go_without_columns_once_both_clusters_are_known_to_have_the_same() {
    staged(two_alike(), async |stage| {
        let mut client = stage.client(Version::V4).await;
        let statement = client.prepare(SELECT).await;
        assert_eq!(client.execute(&statement).await & NO_METADATA, 0);
        compared(&mut client, &statement).await;
        assert_eq!(client.execute(&statement).await, NO_METADATA);
        stage.nodes.a.is_overloaded.set(true);
        assert_eq!(client.execute(&statement).await, NO_METADATA);
        let asked = stage.nodes.b.prepares.get();
        assert_eq!(asked, 1, "B was asked once");
    })
    .await;
}

/// With the other cluster away its columns are not known.
#[tokio::test]
async fn v4_rows_come_with_their_columns_while_one_cluster_was_never_asked() {
    staged(two_alike(), async |stage| {
        stage.nodes.b.is_overloaded.set(true);
        let mut client = stage.client(Version::V4).await;
        let statement = client.prepare(SELECT).await;
        for _ in 0..3 {
            compared(&mut client, &statement).await;
        }
        assert_eq!(client.execute(&statement).await & NO_METADATA, 0);
        let asked = stage.nodes.b.prepares.get();
        assert_eq!(asked, 1, "B was asked once");
    })
    .await;
}

/// After ALTER a node has forgotten the statement, and the client hears nothing of that: the columns
/// that it knows are not those that come.
#[tokio::test]
async fn rows_come_with_their_columns_once_these_have_changed() {
    for version in [Version::V4, Version::V5] {
        staged(two_alike(), async |stage| {
            let mut client = stage.client(version).await;
            let statement = client.prepare(SELECT).await;
            compared(&mut client, &statement).await;
            assert_eq!(client.execute(&statement).await, NO_METADATA);
            for side in Side::ALL {
                let node = &stage.nodes[side];
                node.columns.borrow_mut().push("w");
                node.forgot.set(true);
            }
            for _ in 0..3 {
                let flags = client.execute(&statement).await;
                assert_eq!(flags & NO_METADATA, 0, "{version:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// One who prepares a table of the system's under a short name takes nobody's own table of that name.
#[tokio::test]
async fn v5_what_is_prepared_in_the_systems_keyspace_is_nothing_else() {
    const LOCAL: &str = "SELECT * FROM local";
    staged(two_alike(), async |stage| {
        let mut one = stage.client(Version::V5).await;
        let (systems, _) = one.prepare_in(Some("system"), LOCAL).await;
        let (other, _) = one.prepare(LOCAL).await;
        assert_ne!(systems, other);
    })
    .await;
}

/// A read that A leaves without an answer goes to B, which has other columns by then. The request has
/// held what the thread knew of the statement since before that was looked up anew.
#[tokio::test]
async fn v4_a_read_that_fails_over_goes_by_what_is_known_of_the_columns_by_then() {
    staged(two_alike(), async |stage| {
        let mut early = stage.client(Version::V4).await;
        let mut late = stage.client(Version::V4).await;
        let (a, b) = (&stage.nodes.a, &stage.nodes.b);
        let statement = early.prepare(SELECT).await;
        compared(&mut early, &statement).await;
        assert_eq!(early.execute(&statement).await, NO_METADATA);
        a.stalls.set(true);
        let stalled = async { early.execute(&statement).await };
        let meanwhile = async {
            while a.stalls.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Another statement is prepared where its columns differ: all is looked up anew.
            let other = "SELECT * FROM ks.t WHERE k = 2";
            late.prepare(other).await;
            b.columns.borrow_mut().push("w");
            b.forgot.set(true);
            a.is_overloaded.set(true);
            late.prepare(other).await;
            // B has forgotten the first one, too, and is taught it.
            b.forgot.set(true);
            assert_eq!(late.execute(&statement).await & NO_METADATA, 0);
            a.is_overloaded.set(false);
        };
        let (flags, ()) = tokio::join!(stalled, meanwhile);
        assert_eq!(flags & NO_METADATA, 0, "B left its columns out");
    })
    .await;
}
