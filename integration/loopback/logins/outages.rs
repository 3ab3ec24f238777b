//! Logging in while a cluster is away, silent, or cannot tell.

use std::time::{Duration, Instant};

use helix_proxy::pair::{Pair, Side};

use super::node::{BAD_CREDENTIALS, Guard, Node, eventually};
use super::stage::{Client, Stage, staged, staged_over};
use crate::site::Site;

/// Drivers come again.
async fn nobody_can_tell(stage: &Stage) {
    stage.hangs_up("tom", "in").await;
}

/// One who writes, with one side away, and whose writes reach that side later.
async fn is_served(stage: &mut Stage, tom: &mut Client, away: Side) {
    for key in 0..5 {
        assert_eq!(tom.write("t", key).await, Ok(()));
    }
    assert_eq!(stage.node(!away).doers("INSERT"), ["tom"; 5]);
    stage.sites[away].come_back().await;
    eventually(|| stage.node(away).doers("INSERT") == ["helix"; 5]).await;
    assert!(stage.letters().await.is_empty());
}

#[tokio::test]
async fn with_a_cluster_away_the_other_decides() {
    for away in Side::ALL {
        staged(async |mut stage| {
            stage.sites[away].leave().await;
            let (code, _) = stage.refusal("tom", "out").await;
            assert_eq!(code, BAD_CREDENTIALS);
            let mut tom = stage.client("tom", "in").await;
            is_served(&mut stage, &mut tom, away).await;
        })
        .await;
    }
}

#[tokio::test]
async fn with_home_out_the_other_decides_at_once() {
    staged(async |stage| {
        stage.node(Side::A).is_silent.set(true);
        stage.out(Side::A).await;
        let since = Instant::now();
        let mut tom = stage.client("tom", "in").await;
        assert!(since.elapsed() < Duration::from_millis(500));
        assert_eq!(tom.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn with_home_silent_the_other_decides_soon_and_nobody_else_waits() {
    staged(async |stage| {
        let mut before = stage.client("tom", "in").await;
        stage.node(Side::A).is_silent.set(true);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let since = Instant::now();
        let late = async { stage.client("tom", "in").await };
        let others = async {
            let written = before.write("t", 1).await;
            (written, since.elapsed())
        };
        let (_, (written, waited)) = tokio::join!(late, others);
        assert_eq!(written, Ok(()));
        assert!(
            waited < Duration::from_millis(900),
            "as long as a write waits for a silent cluster, not as a login does: {waited:?}"
        );
        assert!(
            since.elapsed() < Duration::from_millis(1_900),
            "a second and a little"
        );
    })
    .await;
}

#[tokio::test]
async fn a_silent_home_has_the_last_word_over_a_refusal_of_the_other() {
    let (a, b) = (Node::with(&[("tom", "in")]), Node::with(&[]));
    staged_over(Pair::new(a, b), async |stage| {
        stage.node(Side::A).is_silent.set(true);
        // It cannot be reached in time, so the other is believed.
        let since = Instant::now();
        assert_eq!(stage.refusal("tom", "in").await.0, BAD_CREDENTIALS);
        let waited = since.elapsed();
        assert!(
            Duration::from_millis(1_400) < waited,
            "home was waited for: {waited:?}"
        );
        assert!(waited < Duration::from_millis(4_500), "{waited:?}");
    })
    .await;
}

#[tokio::test]
async fn with_both_away_nobody_is_refused_for_good() {
    staged(async |mut stage| {
        for side in Side::ALL {
            stage.sites[side].leave().await;
        }
        let since = Instant::now();
        nobody_can_tell(&stage).await;
        nobody_can_tell(&stage).await;
        assert!(since.elapsed() < Duration::from_secs(2));
        for side in Side::ALL {
            stage.sites[side].come_back().await;
        }
        // The pause after a failed attempt is at most a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_cannot_read_its_roles_refuses_nobody() {
    staged(async |stage| {
        stage.node(Side::A).guard.set(Guard::Unsure);
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        stage.node(Side::B).guard.set(Guard::Unsure);
        nobody_can_tell(&stage).await;
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_asks_nobody_does_not_say_who_somebody_is() {
    staged(async |mut stage| {
        stage.node(Side::B).guard.set(Guard::Sleeps);
        assert_eq!(stage.refusal("tom", "out").await.0, BAD_CREDENTIALS);
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        assert_eq!(stage.node(Side::B).doers("VALUES (1)"), [""]);
        stage.sites[Side::A].leave().await;
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        nobody_can_tell(&stage).await;
    })
    .await;
}

#[tokio::test]
async fn a_new_role_does_not_learn_anew_that_a_node_is_down() {
    let nodes = || Node::with(&[("tom", "in"), ("ann", "too")]);
    staged_over(Pair::new(nodes(), nodes()), async |mut stage| {
        stage.sites[Side::B].leave().await;
        let mut tom = stage.client("tom", "in").await;
        for key in 0..20 {
            assert_eq!(tom.write("t", key).await, Ok(()));
        }
        let since = Instant::now();
        let mut ann = stage.client("ann", "too").await;
        assert_eq!(ann.write("t", 100).await, Ok(()));
        assert!(since.elapsed() < Duration::from_millis(300));
        stage.sites[Side::B].come_back().await;
        eventually(|| stage.node(Side::B).doers("VALUES (100)") == ["helix"]).await;
        // It is there for both roles again, once the pause is over.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(ann.write("t", 101).await, Ok(()));
        assert_eq!(tom.write("t", 102).await, Ok(()));
        eventually(|| !stage.node(Side::B).doers("VALUES (102)").is_empty()).await;
        assert_eq!(stage.node(Side::B).doers("VALUES (102)"), ["tom"]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_asked_about_troubles_nobody() {
    staged(async |stage| {
        stage.node(Side::A).is_silent.set(true);
        stage.node(Side::B).is_silent.set(true);
        for _ in 0..20 {
            let claim = stage.claims("tom", "in");
            drop(tokio::time::timeout(Duration::from_millis(20), claim).await);
        }
        for side in Side::ALL {
            stage.node(side).is_silent.set(false);
        }
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
    })
    .await;
}

/// Of several nodes each is asked for something, and one that is dead costs neither a login nor a request.
#[tokio::test]
async fn a_role_has_connections_to_all_nodes_and_does_without_those_that_are_dead() {
    let roles = || Node::with(&[("tom", "in"), ("ann", "too")]);
    staged_over(Pair::new(roles(), roles()), async |mut stage| {
        let mut more = [Site::open(roles()).await, Site::open(roles()).await];
        stage.has_nodes(&more);
        let mut tom = stage.client("tom", "in").await;
        eventually(|| more.iter().all(|it| it.node.connections("tom") == 1)).await;
        for key in 0..50 {
            assert_eq!(tom.write("t", key).await, Ok(()));
        }
        let of_a = |stage: &Stage, more: &[Site<Node>; 2]| {
            let all = [stage.node(Side::A), &*more[0].node, &*more[1].node];
            all.map(|it| it.doers("INSERT").len())
        };
        let shares = of_a(&stage, &more);
        assert_eq!(shares.iter().sum::<usize>(), 50);
        assert!(shares.iter().all(|it| 0 < *it), "{shares:?}");

        stage.sites.a.leave().await;
        more[0].leave().await;
        for _ in 0..3 {
            let mut ann = stage.client("ann", "too").await;
            assert_eq!(ann.query("SELECT k FROM ks.t").await, Ok(()));
        }
        for key in 50..60 {
            assert_eq!(tom.write("t", key).await, Ok(()));
        }
        assert_eq!(stage.strikes(), 0, "one of its nodes serves");
        assert_eq!(more[1].node.doers("INSERT").len(), shares[2] + 10);
        // Who wrongly says to be somebody is asked about once, whatever the number of nodes.
        let before = more[1].node.times_asked("tom");
        assert_eq!(stage.refusal("tom", "out").await.0, BAD_CREDENTIALS);
        assert_eq!(more[1].node.times_asked("tom"), before + 1);
    })
    .await;
}
