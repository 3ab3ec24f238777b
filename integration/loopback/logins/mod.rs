//! Clients that act as roles of their own: who is let in, whose connections they use, and how many.

mod node;
mod outages;
mod rights;
mod secrets;
mod stage;
mod strangers;

use std::time::Duration;

use helix_proxy::pair::{Pair, Side};
use node::{BAD_CREDENTIALS, Node, eventually};
use stage::{staged, staged_over};
use tokio::task::JoinSet;

/// How long a ruling is believed, and a little.
const BELIEVED: Duration = Duration::from_millis(2_100);

#[tokio::test]
async fn what_a_client_asks_for_is_asked_by_its_own_role_on_connections_of_its_own() {
    let nodes = || Node::with(&[("tom", "in"), ("ann", "too")]);
    staged_over(Pair::new(nodes(), nodes()), async |stage| {
        let mut tom = stage.client("tom", "in").await;
        let mut ann = stage.client("ann", "too").await;
        for key in 0..20 {
            assert_eq!(tom.write("of_tom", key).await, Ok(()));
            assert_eq!(ann.write("of_ann", key).await, Ok(()));
        }
        for side in Side::ALL {
            let node = stage.node(side);
            assert_eq!(node.doers("of_tom"), ["tom"; 20]);
            assert_eq!(node.doers("of_ann"), ["ann"; 20]);
            let open = ["tom", "ann", "helix"].map(|it| node.connections(it));
            assert_eq!(open, [1, 1, 0], "of each role, none of the service account");
        }
        assert!(stage.owes_nothing());
    })
    .await;
}

#[tokio::test]
async fn whoever_home_refuses_hears_its_sentence_and_no_other_cluster_is_asked() {
    staged(async |mut stage| {
        for (name, password) in [("tom", "out"), ("tim", "in"), ("", ""), ("helix", "x")] {
            let (code, sentence) = stage.refusal(name, password).await;
            assert_eq!(code, BAD_CREDENTIALS);
            let expected = format!("Provided username {name} and/or password are incorrect");
            assert_eq!(sentence, expected);
        }
        assert_eq!(stage.node(Side::B).asked.borrow().len(), 0);
        assert_eq!(stage.strikes(), 0);
        assert!(stage.counts(r#"helix_logins_refused_total{cluster="A"} 4"#));
        // The same name with the right password.
        let mut tom = stage.client("tom", "in").await;
        assert_eq!(tom.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn a_fleet_that_comes_at_once_is_asked_about_once_and_later_again() {
    staged(async |stage| {
        let mut fleet = JoinSet::new();
        let stage = std::rc::Rc::new(stage);
        for _ in 0..50 {
            let stage = std::rc::Rc::clone(&stage);
            fleet.spawn_local(async move { stage.client("tom", "in").await });
        }
        let clients = fleet.join_all().await;
        assert_eq!(stage.node(Side::A).times_asked("tom"), 1);
        assert!(stage.node(Side::B).times_asked("tom") <= 1);
        tokio::time::sleep(BELIEVED).await;
        let _late = stage.client("tom", "in").await;
        assert_eq!(stage.node(Side::A).times_asked("tom"), 2);
        eventually(|| stage.node(Side::A).connections("tom") == 1).await;
        drop(clients);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_believed_for_a_while_too_and_not_longer() {
    staged(async |stage| {
        for _ in 0..5 {
            stage.refusal("new", "pw").await;
        }
        assert_eq!(stage.node(Side::A).times_asked("new"), 1);
        stage.node(Side::A).add("new", "pw");
        stage.node(Side::B).add("new", "pw");
        tokio::time::sleep(BELIEVED).await;
        let mut new = stage.client("new", "pw").await;
        assert_eq!(new.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn a_password_that_is_changed_counts_for_those_who_come_and_who_is_here_stays() {
    staged(async |stage| {
        let mut old = stage.client("tom", "in").await;
        assert_eq!(old.write("t", 1).await, Ok(()));
        for side in Side::ALL {
            stage.node(side).remove("tom");
            stage.node(side).add("tom", "new");
        }
        tokio::time::sleep(BELIEVED).await;
        assert_eq!(stage.refusal("tom", "in").await.0, BAD_CREDENTIALS);
        let mut new = stage.client("tom", "new").await;
        assert_eq!(new.write("t", 2).await, Ok(()));
        assert_eq!(old.write("t", 3).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_before_the_answer_waits_for_it() {
    staged(async |stage| {
        let (mut client, answer) = stage.claims("tom", "in").await;
        assert_eq!(answer.unwrap().opcode, 0x10);
        // A second time it is out of place, and costs nothing.
        let again = client.says("tom", "out").await.unwrap();
        assert_eq!(stage::error(&again).unwrap().0, 0x000A);
        assert_eq!(client.write("t", 1).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn there_are_only_so_many_passwords_of_one_name_and_those_of_nobody_make_room() {
    staged(async |stage| {
        for number in 0..9 {
            let password = format!("pw{number}");
            for side in Side::ALL {
                stage.node(side).add("tom", &password);
            }
        }
        let mut clients = Vec::new();
        for number in 0..8 {
            clients.push(stage.client("tom", &format!("pw{number}")).await);
        }
        stage.hangs_up("tom", "pw8").await;
        // Others are not concerned.
        for side in Side::ALL {
            stage.node(side).add("ann", "pw");
        }
        let mut ann = stage.client("ann", "pw").await;
        assert_eq!(ann.write("t", 1).await, Ok(()));
        clients.truncate(7);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut ninth = stage.client("tom", "pw8").await;
        assert_eq!(ninth.write("t", 2).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn there_are_only_so_many_roles_and_those_without_a_client_end_their_connections() {
    staged(async |stage| {
        let names: Vec<_> = (0..70).map(|it| format!("role{it}")).collect();
        for name in &names {
            for side in Side::ALL {
                stage.node(side).add(name, "pw");
            }
        }
        let mut clients = Vec::new();
        for name in names.iter().take(64) {
            let mut client = stage.client(name, "pw").await;
            assert_eq!(client.write("t", 1).await, Ok(()));
            clients.push(client);
        }
        stage.hangs_up("role64", "pw").await;
        // One that is here already is not one more.
        let _again = stage.client("role0", "pw").await;
        clients.clear();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut late = stage.client("role65", "pw").await;
        assert_eq!(late.write("t", 2).await, Ok(()));
        for side in Side::ALL {
            let open = || stage.node(side).open.borrow().values().sum::<usize>();
            // Eight idle ones, the one that came again and the late one, at most.
            eventually(|| open() <= 10).await;
            assert_eq!(stage.node(side).connections("role65"), 1);
        }
    })
    .await;
}
