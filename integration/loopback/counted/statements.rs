//! What the two clusters do not share is counted, however it comes, QUERY, EXECUTE or BATCH; and what one of
//! them cannot be taught.

use tokio::io::AsyncWriteExt;

use super::stage::{CONDITIONAL, Mood, OVERLOADED, WRITE, batch, execute, staged};

const NOW: &str = "INSERT INTO ks.t (k, v) VALUES (1, now())";

#[tokio::test]
async fn writes_whose_values_each_server_makes_are_counted_however_they_come() {
    staged(10, async |mut stage| {
        let (now, plain) = (stage.prepare(NOW).await, stage.prepare(WRITE).await);
        let text = format!("BEGIN BATCH {WRITE}; {NOW}; APPLY BATCH");
        let (queries, executes) = ([NOW, &text], [&now]);
        let batches = [
            batch(&[NOW], &[]),
            batch(&[WRITE], &[&plain, &now]),
            batch(&[NOW, NOW], &[&now]),
        ];
        let unlike = [batch(&[WRITE], &[&plain]), execute(&plain)];

        for text in queries {
            assert_eq!(stage.query(text).await, 0x08);
        }
        for message in executes.map(|id| execute(id)).iter().chain(&batches) {
            stage.done(message).await;
        }
        for message in &unlike {
            stage.done(message).await;
        }
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.shows(&["helix_per_server_values_total 6"]).await;
    })
    .await;
}

#[tokio::test]
async fn conditionals_that_the_other_cluster_does_not_get_are_counted_however_they_come() {
    staged(10, async |mut stage| {
        let id = stage.prepare(CONDITIONAL).await;
        let plain = stage.prepare(WRITE).await;
        assert_eq!(stage.query(CONDITIONAL).await, 0x08);
        let conditional = [
            execute(&id),
            batch(&[WRITE, CONDITIONAL], &[]),
            batch(&[WRITE], &[&id]),
        ];
        for message in &conditional {
            stage.done(message).await;
        }
        stage.done(&batch(&[WRITE], &[&plain])).await;
        stage.shows(&["helix_conditional_total 4"]).await;
        stage.shows(&[r#"helix_write_total{cluster="B"} 1"#]).await;
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_up_and_cannot_be_taught_a_statement_is_not_told_to_be_away() {
    staged(10, async |mut stage| {
        let id = stage.prepare(CONDITIONAL).await;
        stage.moods.a.set(Mood::Forgetful);
        stage.client.write_all(&execute(&id)).await.unwrap();
        let told = "cluster A cannot be reached, and this needs it; nothing was applied";
        assert_eq!(stage.error().await, (OVERLOADED, told.to_owned()));
    })
    .await;
}
