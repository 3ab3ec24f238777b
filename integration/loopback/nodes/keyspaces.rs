//! Requests that want a connection in a keyspace.

use super::*;

#[tokio::test]
async fn clients_of_forty_keyspaces_come_at_once_and_all_are_served_a_few_at_a_time() {
    staged(async |stage| {
        stage.has_one_node().await;
        let node = Rc::clone(&stage.a[0].node);
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(open(stage.address).await);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let text = query(&format!("USE ks{number}"));
            client.write(&raw(4, [0, 1], QUERY, &text)).await;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let got = client.read().await.unwrap();
            assert_eq!(got.opcode, 0x08, "{number}: {:?}", got.body);
        }
        let (_, most) = node.binding.get();
        assert!(most <= 16, "{most}: each may cost the node a slow hash");
    })
    .await;
}

#[tokio::test]
async fn what_asks_for_the_keyspace_when_it_runs_is_in_it_also_where_it_was_prepared() {
    staged(async |mut stage| {
        stage.has_one_node().await;
        let node = Rc::clone(&stage.a[0].node);
        assert_eq!(stage.query("USE ks").await, 0x08);
        for text in ["DESCRIBE TABLES", "LIST ALL PERMISSIONS ON t"] {
            let id = stage.prepare(text).await;
            stage.executes(&id, 0..1).await;
            assert_eq!(node.executed_bound.take(), 1, "{text}");
        }
        let id = stage.prepare("SELECT v FROM t WHERE k = ?").await;
        stage.executes(&id, 0..1).await;
        assert_eq!(node.executed_bound.take(), 0, "a read was told by PREPARE");
    })
    .await;
}
