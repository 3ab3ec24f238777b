//! The commands against an admin server on a port of its own.

use std::sync::atomic::Ordering;

use clap::Parser;

use super::{Command, Exit, Terminal, execute};
use crate::control::fake::Server;

#[test]
fn status_is_a_table_for_people() {
    let server = Server::start(2, None);
    let ran = run(&server, &["status"]);

    assert_eq!(ran.exit, Exit::Fine, "{}", ran.err);
    assert_eq!(
        ran.out,
        "helix-proxy 0.1.0 host-9042: ready, up 1h 2m 5s, 7 clients, reads prefer A\n\
         CLUSTER  SIDE  STATE      CONNECTED  RELEASE  BEHIND  OWED  OLDEST\n\
         east     A     closed     yes        5.0.7    no      0     -\n\
         west     B     half_open  no         -        yes     1234  1m 1s\n\
         replay queue (disk): 4.0 KiB, 2 dead letters, takes records\n"
    );
}

#[test]
fn status_is_json_for_scripts() {
    let server = Server::start(0, None);
    let ran = run(&server, &["status", "--json"]);

    let status: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(status["clusters"]["west"]["state"], "half_open");
}

#[test]
fn readiness_is_an_exit_code() {
    let server = Server::start(0, None);
    let ran = run(&server, &["status", "--ready"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Fine, ""));

    server.status.down.store(true, Ordering::Relaxed);
    let ran = run(&server, &["status", "--ready"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert_eq!(ran.err, "not ready: neither cluster can be reached\n");
}

#[test]
fn replay_status_tells_what_each_side_owes() {
    let server = Server::start(2, None);
    let ran = run(&server, &["replay", "status"]);

    assert_eq!(
        ran.out,
        "SIDE  OWED  OLDEST\n\
         A     0     -\n\
         B     1234  1m 1s\n\
         replay queue (disk): 4.0 KiB, 2 dead letters, takes records\n"
    );
    assert!(
        run(&server, &["replay", "status", "--json"])
            .out
            .contains("\"owed\"")
    );
}

#[test]
fn dead_letters_are_listed_with_the_way_to_the_next_page() {
    let server = Server::start(3, None);
    let ran = run(&server, &["dlq", "list", "--max", "2"]);
    assert_eq!(
        ran.out,
        "NUMBER  SIDE  REASON   PARKED AT                 BYTES  ERROR\n\
         1       B     refused  2023-11-14T22:13:20.000Z  300    unconfigured table t1\n\
         2       B     refused  2023-11-14T22:13:20.000Z  300    unconfigured table t2\n\
         more: dlq list --after 2\n"
    );
    let ran = run(&server, &["dlq", "list", "--after", "3"]);
    assert_eq!(ran.out, "no dead letters\n");
}

#[test]
fn a_dead_letter_is_shown_field_by_field() {
    let server = Server::start(1, None);
    let ran = run(&server, &["dlq", "show", "1"]);
    assert_eq!(ran.exit, Exit::Fine);
    assert!(ran.out.contains("reason     refused\n"), "{}", ran.out);

    let ran = run(&server, &["dlq", "show", "2"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert_eq!(ran.err, "helix-proxy: there is no dead letter 2\n");
}

#[test]
fn dead_letters_are_requeued_by_number() {
    let server = Server::start(3, None);
    let ran = run(&server, &["dlq", "requeue", "3", "1", "3"]);
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (Exit::Fine, "requeued 2 dead letters\n")
    );
    assert_eq!(server.queue.numbers(), [2]);

    let ran = run(&server, &["dlq", "requeue", "2", "9"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert_eq!(ran.out, "requeued 1 dead letter\n");
    assert_eq!(ran.err, "helix-proxy: 1 number named no dead letter\n");
}

#[test]
fn all_dead_letters_are_moved_however_many_requests_that_takes() {
    let server = Server::start(2_500, None);
    let ran = run(&server, &["dlq", "requeue", "--all"]);
    assert_eq!(ran.out, "requeued 2500 dead letters\n", "{}", ran.err);
    assert!(server.queue.numbers().is_empty());
}

#[test]
fn all_dead_letters_are_purged_only_with_a_yes() {
    let server = Server::start(2, None);
    let ran = run(&server, &["dlq", "purge", "--all"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("add --yes"), "{}", ran.err);
    assert_eq!(server.queue.numbers(), [1, 2]);

    let ran = run(&server, &["dlq", "purge", "--all", "--yes"]);
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (Exit::Fine, "purged 2 dead letters\n")
    );
    assert!(server.queue.numbers().is_empty());
}

#[test]
fn a_change_carries_the_token_of_the_named_variable() {
    let server = Server::start(2, Some("secret"));
    let ran = run(&server, &["dlq", "purge", "1"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("--token-env"), "{}", ran.err);

    let ran = run(&server, &["dlq", "purge", "1", "--token-env", "NOT_SET"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("NOT_SET is not set"), "{}", ran.err);

    let ran = run(&server, &["dlq", "purge", "1", "--token-env", "WRONG"]);
    assert_eq!(ran.exit, Exit::Failed);

    let ran = run(&server, &["dlq", "purge", "1", "--token-env", "RIGHT"]);
    assert_eq!(ran.exit, Exit::Fine, "{}", ran.err);
    assert_eq!(server.queue.numbers(), [2]);
}

#[test]
fn when_nothing_listens_the_error_says_where_it_looked() {
    let mut server = Server::start(0, None);
    server.stop();
    for command in [
        &["status"][..],
        &["status", "--ready"],
        &["dlq", "purge", "1"],
    ] {
        let ran = run(&server, command);
        assert_eq!(ran.exit, Exit::Failed);
        let place = format!("nothing listens on {}", server.address);
        assert!(ran.err.contains(&place), "{}", ran.err);
    }
}

#[test]
fn what_is_no_command_is_told_before_anything_is_asked() {
    for words in [
        &["status", "--ready", "--json"][..],
        &["status", "--admin", "nowhere"],
        &["status", "--admin", ":9180"],
        &["dlq", "purge"],
        &["dlq", "purge", "1", "--all"],
        &["dlq", "requeue", "one"],
        &["dlq", "list", "--max", "0"],
        &["replay"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn run(server: &Server, words: &[&str]) -> Ran {
    let address = server.address.to_string();
    let words = [words, &["--admin", &address]].concat();
    let command = parse(&words).expect("a command");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let env = |name: &str| match name {
        "RIGHT" => Some("secret".to_owned()),
        "WRONG" => Some("guess".to_owned()),
        _unset => None,
    };
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
        env: &env,
    };
    let exit = execute(&command, &mut terminal);
    Ran {
        exit,
        out: String::from_utf8(out).expect("text"),
        err: String::from_utf8(err).expect("text"),
    }
}

fn parse(words: &[&str]) -> Result<Command, clap::Error> {
    let line = ["helix-proxy"].iter().chain(words);
    Line::try_parse_from(line).map(|line| line.command)
}
