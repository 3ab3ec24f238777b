//! A whole process: who changes the schema, what starts unasked, and that no password is ever shown.

use std::process::Stdio;
use std::time::Duration;

use helix_proxy::pair::{Pair, Side};
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::node::{BAD_CREDENTIALS, Node, Trip, UNAUTHORIZED, eventually};
use super::stage::{Client, error};
use crate::process::{Process, QUIET, free};
use crate::site::Site;

const SERVICE: &str = "a-password-of-helix";
const TOMS: &str = "a-password-of-tom";
const MADE: &str = "a-password-that-is-made";

/// A proxy over two clusters, by a file that says nothing of `auth`.
struct House {
    sites: Pair<Site<Node>>,
    folder: TempDir,
    process: Process,
}

impl House {
    async fn new() -> Self {
        let nodes = || Node::with(&[("tom", TOMS), ("ann", "too"), ("helix", SERVICE)]);
        let sites = Pair::new(Site::open(nodes()).await, Site::open(nodes()).await);
        let folder = TempDir::new().unwrap();
        let process = Process::run((free(QUIET), free(QUIET)), |run, (listen, admin)| {
            let account = "auth: { username: helix, password_env: SERVICE_PASSWORD }";
            let cluster =
                |site: &Site<Node>| format!("contact_points: [\"{}\"], {account}", site.address);
            let text = format!(
                "listen: {listen}\nadmin: {{ listen: {admin} }}\nworkers: 1\nclusters: {{ a: {{ {} }}, b: {{ {} }} }}\n\
                 replay: {{ queue: memory }}\nlog: {{ level: trace }}\n",
                cluster(&sites.a),
                cluster(&sites.b)
            );
            let file = folder.path().join("helix-proxy.yaml");
            std::fs::write(&file, text).unwrap();
            let log = std::fs::File::create(folder.path().join("log")).unwrap();
            run.arg("--config")
                .arg(&file)
                .env("SERVICE_PASSWORD", SERVICE)
                .stdout(Stdio::null())
                .stderr(log);
        });
        let both = |page: String| page.matches("\"connected\":true").count() == 2;
        eventually(|| process.get("/status").is_some_and(both)).await;
        Self {
            sites,
            folder,
            process,
        }
    }

    async fn client(&self, name: &str, password: &str) -> Result<Client, i32> {
        let mut client = Client::greeted(self.process.listen).await;
        let answer = client.says(name, password).await.expect("an answer");
        match error(&answer) {
            None => Ok(client),
            Some((code, _)) => Err(code),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

#[tokio::test]
async fn the_schema_is_changed_by_who_asks_for_it_and_no_password_is_shown() {
    let story = async {
        let house = House::new().await;
        eventually(|| house.log().contains("clients log in at the clusters")).await;
        for side in Side::ALL {
            house.sites[side].node.deny("ann", "CREATE");
        }
        assert_eq!(
            house.client("tom", "guessed").await.err(),
            Some(BAD_CREDENTIALS)
        );
        let mut tom = house.client("tom", TOMS).await.unwrap();
        let role = format!("CREATE ROLE made WITH PASSWORD = '{MADE}'");
        assert_eq!(tom.query(&role).await, Ok(()));
        assert_eq!(
            tom.query("CREATE TABLE ks.t (k int PRIMARY KEY)").await,
            Ok(())
        );
        let mut ann = house.client("ann", "too").await.unwrap();
        let refused = ann.query(&role.replace("made ", "other ")).await;
        assert_eq!(refused.unwrap_err().0, UNAUTHORIZED);
        for side in Side::ALL {
            let node = &house.sites[side].node;
            assert_eq!(node.doers("CREATE"), ["tom"; 2]);
            // One for its requests; those of its schema changes have ended.
            eventually(|| node.connections("tom") == 1).await;
        }

        // A role that only one of them knows changes neither.
        house.sites.b.node.remove("ann");
        house.sites.a.node.denied.borrow_mut().clear();
        let told = ann
            .query("CREATE TABLE ks.u (k int PRIMARY KEY)")
            .await
            .unwrap_err();
        assert_eq!(told.0, UNAUTHORIZED, "{}", told.1);
        assert!(
            told.1.starts_with("cluster B does not let ann log in"),
            "{}",
            told.1
        );
        for side in Side::ALL {
            assert!(house.sites[side].node.doers("ks.u").is_empty());
        }

        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut shown = house.log();
        for path in ["/status", "/metrics", "/dlq", "/replay/status"] {
            shown += &house.process.get(path).unwrap();
        }
        for word in [SERVICE, TOMS, MADE, "guessed"] {
            let with = shown.lines().find(|it| it.contains(word));
            assert_eq!(with, None, "{word} is shown");
        }
        assert!(shown.contains("helix_logins_refused_total{cluster=\"A\"} 1"));
    };
    LocalSet::new().run_until(story).await;
}

#[tokio::test]
async fn what_a_stranger_makes_a_cluster_say_is_logged_short_and_plain() {
    let story = async {
        let house = House::new().await;
        for side in Side::ALL {
            let node = &house.sites[side].node;
            node.trips.set(Some(("stranger", Trip::Fails)));
        }
        let name = format!("stranger\n\u{1b}[31m{}", "x".repeat(5_000));
        let mut client = Client::greeted(house.process.listen).await;
        assert!(client.says(&name, "x").await.is_none());
        let told = || {
            let log = house.log();
            let mut lines = log.lines();
            lines
                .find(|it| it.contains("no cluster can tell"))
                .map(str::to_owned)
        };
        eventually(|| told().is_some()).await;
        let line = told().unwrap();
        assert!(line.contains("stranger[31mxx"), "{line}");
        assert!(line.len() < 700, "{line}");
    };
    LocalSet::new().run_until(story).await;
}
