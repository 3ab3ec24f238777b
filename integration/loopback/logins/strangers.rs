//! Strangers who try names and passwords: what that does to others.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};

use helix_proxy::pair::{Pair, Side};

use super::node::{BAD_CREDENTIALS, Node, Trip};
use super::stage::{Client, Stage, staged, staged_over};

/// Roles that have not come yet.
const NEW: [&str; 4] = ["ann", "eve", "joe", "sue"];

async fn among_roles<F: Future<Output = ()>>(story: impl FnOnce(Stage) -> F) {
    let all = [&["tom"][..], &NEW].concat();
    let roles: Vec<_> = all.into_iter().map(|name| (name, "in")).collect();
    let nodes = || Node::with(&roles);
    staged_over(Pair::new(nodes(), nodes()), story).await;
}

fn trip(stage: &Stage, over: &'static str, trip: Trip) {
    for side in Side::ALL {
        stage.node(side).trips.set(Some((over, trip)));
    }
}

/// A role that comes is let in, and one who is there is given a connection more.
async fn others_are_served(stage: &Stage, tom: &mut Client, new: &str) {
    stage.client(new, "in").await;
    assert_eq!(tom.query(&format!("USE {new}")).await, Ok(()));
}

#[tokio::test]
async fn a_stranger_whose_name_sounds_like_an_excuse_is_refused_and_hinders_nobody() {
    let names = [
        "timed out",
        "Cannot achieve consistency level ONE",
        "Unable to perform authentication",
        "Operation timed out",
    ];
    among_roles(async |mut stage| {
        let mut tom = stage.client("tom", "in").await;
        for (name, new) in names.into_iter().zip(NEW) {
            assert_eq!(stage.refusal(name, "x").await.0, BAD_CREDENTIALS);
            others_are_served(&stage, &mut tom, new).await;
        }
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_password_that_a_node_trips_over_says_nothing_of_the_node() {
    among_roles(async |mut stage| {
        let mut tom = stage.client("tom", "in").await;
        trip(&stage, "stranger", Trip::Fails);
        for (number, new) in NEW.into_iter().enumerate() {
            stage.hangs_up(&format!("stranger{number}"), "x").await;
            others_are_served(&stage, &mut tom, new).await;
        }
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

/// Who troubles the clusters is itself left alone for a while, and let in when that is over.
#[tokio::test]
async fn a_role_that_nobody_can_tell_of_is_asked_about_again_soon() {
    staged(async |mut stage| {
        trip(&stage, "tom", Trip::Fails);
        stage.hangs_up("tom", "in").await;
        for side in Side::ALL {
            stage.node(side).trips.set(None);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_crowd_of_strangers_is_refused_and_who_comes_with_it_is_let_in() {
    among_roles(async |stage| {
        let names: Vec<_> = (0..200).map(|it| format!("stranger{it}")).collect();
        let strangers = join_all(names.iter().map(|it| stage.refusal(it, "x")));
        let (told, _ann) = join(strangers, stage.client("ann", "in")).await;
        assert!(told.iter().all(|(code, _)| *code == BAD_CREDENTIALS));
        let passwords: Vec<_> = (0..50).map(|it| format!("guess{it}")).collect();
        let strangers = join_all(passwords.iter().map(|it| stage.refusal("tom", it)));
        let (told, _tom) = join(strangers, stage.client("tom", "in")).await;
        assert!(told.iter().all(|(code, _)| *code == BAD_CREDENTIALS));
    })
    .await;
}

#[tokio::test]
async fn guesses_at_one_name_keep_no_other_waiting() {
    among_roles(async |stage| {
        trip(&stage, "tom", Trip::Sleeps);
        let passwords: Vec<_> = (0..50).map(|it| format!("guess{it}")).collect();
        let guesses = join_all(passwords.iter().map(|it| stage.claims("tom", it)));
        let ann = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let since = Instant::now();
            stage.client("ann", "in").await;
            since.elapsed()
        };
        tokio::select! {
            _ = guesses => unreachable!("nobody answered"),
            waited = ann => assert!(waited < Duration::from_millis(900), "{waited:?}"),
        }
    })
    .await;
}
