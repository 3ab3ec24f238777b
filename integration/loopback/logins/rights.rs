//! What a role may do, and what may become a record that replay would do as the service account.

use std::time::Duration;

use helix_proxy::pair::{Pair, Side};
use helix_proxy::policy::View;

use super::node::{Node, UNAUTHORIZED, eventually};
use super::stage::{Client, Stage, WRITE_WITHIN, insert, staged, staged_over};

const WRITE_TIMEOUT: i32 = 0x1100;

/// Longer than a worker needs for what it may replay.
const A_WHILE: Duration = Duration::from_millis(300);

/// Texts with this in them are left without an answer by both.
fn drop_on_both(stage: &Stage, what: Option<&'static str>) {
    for side in Side::ALL {
        *stage.node(side).drops.borrow_mut() = what;
    }
}

fn hold_on_both(stage: &Stage, holds: bool) {
    for side in Side::ALL {
        stage.node(side).holds.set(holds);
    }
}

/// Neither answers this write in time.
async fn drowns(stage: &Stage, client: &mut Client, text: &str, what: &'static str) {
    drop_on_both(stage, Some(what));
    let (code, sentence) = client.query(text).await.unwrap_err();
    assert_eq!(code, WRITE_TIMEOUT, "{sentence}");
    drop_on_both(stage, None);
}

fn deny_on_both(stage: &Stage, what: &'static str) {
    for side in Side::ALL {
        stage.node(side).deny("tom", what);
    }
}

#[tokio::test]
async fn what_both_clusters_refuse_is_refused_and_leaves_nothing() {
    staged(async |stage| {
        deny_on_both(&stage, "secrets");
        let mut tom = stage.client("tom", "in").await;
        let told = tom.write("secrets", 1).await.unwrap_err();
        assert_eq!(
            told,
            (UNAUTHORIZED, "User tom has no MODIFY permission".to_owned())
        );
        tokio::time::sleep(A_WHILE).await;
        assert!(stage.owes_nothing());
        for side in Side::ALL {
            assert!(stage.node(side).doers("secrets").is_empty());
        }
        assert_eq!(tom.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn what_no_cluster_answered_is_not_done_by_the_service_account() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        deny_on_both(&stage, "secrets");
        drop_on_both(&stage, Some("secrets"));
        let (code, _) = tom.write("secrets", 1).await.unwrap_err();
        assert_eq!(code, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        // Operators see it, on both sides.
        let letters = stage.forbids(2).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("secrets").is_empty());
        }
        // One who knows that it is allowed may have it replayed.
        let queue = stage.shared.queue.as_ref().unwrap();
        let numbers = letters.iter().map(|it| it.number).collect();
        assert_eq!(queue.requeue(numbers).await, Ok(2));
        for side in Side::ALL {
            eventually(|| stage.node(side).doers("secrets") == ["helix"]).await;
        }
        eventually(|| stage.owes_nothing()).await;
    })
    .await;
}

#[tokio::test]
async fn what_no_cluster_answered_is_replayed_where_the_like_was_taken_before() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        drop_on_both(&stage, Some("VALUES (2)"));
        let (code, _) = tom.write("t", 2).await.unwrap_err();
        assert_eq!(code, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        for side in Side::ALL {
            eventually(|| stage.node(side).doers("VALUES (2)") == ["helix"]).await;
        }
        assert!(stage.letters().await.is_empty());
    })
    .await;
}

/// An id that one role was given may be used by all, as in a server; what it does it does as who asks.
#[tokio::test]
async fn what_is_prepared_is_run_by_who_asks_for_it() {
    let nodes = || Node::with(&[("tom", "in"), ("ann", "too")]);
    staged_over(Pair::new(nodes(), nodes()), async |stage| {
        for side in Side::ALL {
            stage.node(side).deny("ann", "INSERT");
        }
        let mut tom = stage.client("tom", "in").await;
        let mut ann = stage.client("ann", "too").await;
        let id = ann.prepare(&insert("t", 1)).await;
        assert_eq!(tom.execute(&id).await, Ok(()));
        assert_eq!(ann.execute(&id).await.unwrap_err().0, UNAUTHORIZED);
        for side in Side::ALL {
            assert_eq!(stage.node(side).doers("INSERT"), ["tom"]);
        }
        // Tom is known to be allowed, Ann is not.
        drop_on_both(&stage, Some("INSERT"));
        assert_eq!(ann.execute(&id).await.unwrap_err().0, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        stage.forbids(2).await;
        drop_on_both(&stage, Some("INSERT"));
        assert_eq!(tom.execute(&id).await.unwrap_err().0, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        for side in Side::ALL {
            eventually(|| stage.node(side).doers("INSERT") == ["tom", "helix"]).await;
        }
        assert_eq!(stage.letters().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_another_role_may_says_nothing_of_this_one() {
    let nodes = || Node::with(&[("tom", "in"), ("ann", "too")]);
    staged_over(Pair::new(nodes(), nodes()), async |stage| {
        let mut ann = stage.client("ann", "too").await;
        assert_eq!(ann.write("t", 1).await, Ok(()));
        let mut tom = stage.client("tom", "in").await;
        drop_on_both(&stage, Some("VALUES (2)"));
        assert_eq!(tom.write("t", 2).await.unwrap_err().0, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        stage.forbids(2).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("VALUES (2)").is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_ends_what_was_known_of_the_table_and_of_no_other() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        for table in ["mine", "yours"] {
            assert_eq!(tom.write(table, 1).await, Ok(()));
        }
        deny_on_both(&stage, "yours");
        assert_eq!(tom.write("yours", 2).await.unwrap_err().0, UNAUTHORIZED);
        drop_on_both(&stage, Some("VALUES (3)"));
        for table in ["mine", "yours"] {
            assert_eq!(tom.write(table, 3).await.unwrap_err().0, WRITE_TIMEOUT);
        }
        drop_on_both(&stage, None);
        stage.forbids(2).await;
        for side in Side::ALL {
            eventually(|| stage.node(side).doers("mine (k) VALUES (3)") == ["helix"]).await;
            assert!(stage.node(side).doers("yours (k) VALUES (3)").is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_beside_silence_is_not_done_by_the_service_account() {
    for refuser in Side::ALL {
        staged(async |stage| {
            let mut tom = stage.client("tom", "in").await;
            assert_eq!(tom.write("t", 1).await, Ok(()));
            stage.node(refuser).deny("tom", "VALUES (2)");
            *stage.node(!refuser).drops.borrow_mut() = Some("VALUES (2)");
            let (code, _) = tom.write("t", 2).await.unwrap_err();
            assert_eq!(code, WRITE_TIMEOUT, "the silent one may have it");
            *stage.node(!refuser).drops.borrow_mut() = None;
            stage.forbids(2).await;
            tokio::time::sleep(A_WHILE).await;
            for side in Side::ALL {
                assert!(stage.node(side).doers("VALUES (2)").is_empty());
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_one_cluster_takes_and_the_other_refuses_is_owed_there() {
    for refuser in Side::ALL {
        staged(async |stage| {
            stage.node(refuser).deny("tom", "INSERT INTO ks.t");
            let mut tom = stage.client("tom", "in").await;
            assert_eq!(tom.write("t", 1).await, Ok(()), "one side is enough");
            eventually(|| stage.node(refuser).doers("VALUES (1)") == ["helix"]).await;
            assert_eq!(stage.node(!refuser).doers("VALUES (1)"), ["tom"]);
            eventually(|| stage.owes_nothing()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_role_that_only_home_knows_is_let_in_and_nothing_it_wrote_is_lost() {
    let (a, b) = (Node::with(&[("tom", "in")]), Node::with(&[]));
    staged_over(Pair::new(a, b), async |mut stage| {
        let mut tom = stage.client("tom", "in").await;
        for key in 0..50 {
            assert_eq!(tom.write("t", key).await, Ok(()));
        }
        assert_eq!(stage.node(Side::A).doers("INSERT"), ["tom"; 50]);
        eventually(|| stage.node(Side::B).doers("INSERT") == ["helix"; 50]).await;
        eventually(|| stage.owes_nothing()).await;
        assert_eq!(tom.query("SELECT k FROM ks.t").await, Ok(()));
        // It says nothing of B's health, and B is not asked with every request.
        assert_eq!(stage.strikes(), 0);
        assert!(stage.node(Side::B).times_asked("tom") <= 2);
        assert!(!stage.counts(r#"helix_logins_refused_total{cluster="B"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_gone_everywhere_is_told_so_and_nothing_is_recorded() {
    staged(async |mut stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        for side in Side::ALL {
            stage.node(side).remove("tom");
            stage.sites[side].leave().await;
            stage.sites[side].come_back().await;
        }
        eventually(|| stage.strikes() == 0).await;
        for key in 2..10 {
            let (code, sentence) = tom.write("t", key).await.unwrap_err();
            assert!(
                [UNAUTHORIZED, WRITE_TIMEOUT, 0x1001].contains(&code),
                "{sentence}"
            );
        }
        let (code, sentence) = tom.write("t", 10).await.unwrap_err();
        assert_eq!(
            (code, sentence.as_str()),
            (UNAUTHORIZED, "cluster A does not let tom log in")
        );
        assert_eq!(
            tom.query("SELECT k FROM ks.t").await.unwrap_err().0,
            UNAUTHORIZED
        );
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(
                !stage
                    .node(side)
                    .doers("INSERT")
                    .contains(&"helix".to_owned())
            );
        }
    })
    .await;
}

#[tokio::test]
async fn while_a_cluster_is_out_what_the_other_takes_is_owed_and_what_it_refuses_is_not() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        stage.out(Side::B).await;
        stage.node(Side::A).deny("tom", "secrets");
        // Nothing is known of either table, and each has its record before it is sent.
        assert_eq!(tom.write("secrets", 1).await.unwrap_err().0, UNAUTHORIZED);
        assert_eq!(tom.write("t", 2).await, Ok(()));
        eventually(|| stage.node(Side::B).doers("VALUES (2)") == ["helix"]).await;
        tokio::time::sleep(A_WHILE).await;
        assert!(stage.node(Side::B).doers("secrets").is_empty());
        assert!(stage.owes_nothing());
    })
    .await;
}

#[tokio::test]
async fn while_a_cluster_is_out_what_the_other_does_not_answer_is_for_operators() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        stage.out(Side::B).await;
        drop_on_both(&stage, Some("secrets"));
        let (code, _) = tom.write("secrets", 1).await.unwrap_err();
        assert_eq!(code, WRITE_TIMEOUT);
        drop_on_both(&stage, None);
        stage.forbids(2).await;
        stage.view.send_modify(|view| {
            *view = View {
                out: Default::default(),
                sick: Default::default(),
                ..*view
            };
        });
        tokio::time::sleep(A_WHILE + WRITE_WITHIN).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("secrets").is_empty());
        }
        assert_eq!(tom.write("t", 3).await, Ok(()));
    })
    .await;
}

/// What it wrote until it came was replayed in good faith; nothing after it is.
#[tokio::test]
async fn a_refusal_that_comes_too_late_for_its_write_ends_what_was_known_too() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        deny_on_both(&stage, "INSERT");
        hold_on_both(&stage, true);
        assert_eq!(tom.write("t", 2).await.unwrap_err().0, WRITE_TIMEOUT);
        hold_on_both(&stage, false);
        for side in Side::ALL {
            let label = side.label();
            let line = format!("helix_orphaned_answers_total{{cluster=\"{label}\"}} 1");
            eventually(|| stage.counts(&line)).await;
        }
        drowns(&stage, &mut tom, &insert("t", 3), "VALUES (3)").await;
        stage.forbids(2).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("VALUES (3)").is_empty());
        }
    })
    .await;
}

/// Who may write to a table may not therefore call any function.
#[tokio::test]
async fn a_function_that_is_called_like_one_of_the_servers_is_not_called_by_the_service_account() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        let calls = ["ks.x_as_blob(1)", "ks.abs(1)", "ks.max(ks.plain(1))"];
        for call in calls {
            let text = format!("INSERT INTO ks.t (k, a) VALUES (2, {call})");
            drowns(&stage, &mut tom, &text, "VALUES (2, ").await;
        }
        stage.forbids(2 * calls.len()).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("VALUES (2, ").is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_keyspace_that_a_role_may_not_use_any_more_is_not_written_to_by_the_service_account() {
    staged(async |mut stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.query("USE ks").await, Ok(()));
        let write = |key| format!("INSERT INTO t (k) VALUES ({key})");
        assert_eq!(tom.query(&write(1)).await, Ok(()));
        stage.node(Side::A).deny("tom", "USE");
        stage.sites.a.leave().await;
        stage.sites.a.come_back().await;
        // By now it is known that the connection is gone.
        assert_eq!(tom.query(&write(2)).await, Ok(()), "B takes it");
        eventually(|| stage.node(Side::A).doers("VALUES (2)") == ["helix"]).await;
        drowns(&stage, &mut tom, &write(3), "VALUES (3)").await;
        stage.forbids(2).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert!(stage.node(side).doers("VALUES (3)").is_empty());
        }
    })
    .await;
}

/// Its name may be another table's, or its rights may be less.
#[tokio::test]
async fn what_was_known_of_a_table_is_not_known_any_more_once_anything_was_changed() {
    staged(async |stage| {
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        stage.changes_schema().await;
        drowns(&stage, &mut tom, &insert("t", 2), "VALUES (2)").await;
        stage.forbids(2).await;
        assert_eq!(tom.write("t", 3).await, Ok(()));
        stage.changes_rights().await;
        drowns(&stage, &mut tom, &insert("t", 4), "VALUES (4)").await;
        stage.forbids(4).await;
        tokio::time::sleep(A_WHILE).await;
        for side in Side::ALL {
            assert_eq!(stage.node(side).doers("VALUES ("), ["tom"; 2]);
        }
    })
    .await;
}
