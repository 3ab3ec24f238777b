//! The admin address over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::fake::Server;
use super::status::Replay;

#[test]
fn a_live_proxy_says_so_even_when_it_is_not_ready() {
    let server = Server::start(0, None);
    server.status.down.store(true, Ordering::Relaxed);

    assert_eq!(get(&server, "/health/live").code, 200);
    let ready = get(&server, "/health/ready");
    assert_eq!(ready.code, 503);
    assert_eq!(
        ready.json(),
        json!({"ready": false, "reason": "neither cluster can be reached"})
    );

    server.status.down.store(false, Ordering::Relaxed);
    assert_eq!(get(&server, "/health/ready").code, 200);
}

#[test]
fn metrics_are_prometheus_text() {
    let page = get(&Server::start(0, None), "/metrics");

    assert_eq!(page.code, 200);
    assert!(
        page.head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    assert!(
        page.body.contains("helix_read_total{cluster=\"east\"} 0\n"),
        "{}",
        page.body
    );
}

#[test]
fn status_is_exactly_this_json() {
    let server = Server::start(2, None);
    let expected = json!({
        "ready": true, "instance": "host-9042", "version": "0.1.0", "uptime_seconds": 3725,
        "clusters": {
            "east": {"side": "A", "state": "closed", "behind": false, "connected": true,
                     "release_version": "5.0.7"},
            "west": {"side": "B", "state": "half_open", "behind": true, "connected": false,
                     "release_version": null},
        },
        "reads": {"preferred": "A"},
        "replay": {"queue": "disk", "owed": {"A": 0, "B": 1234},
                   "oldest_seconds": {"A": null, "B": 61}, "dead_letters": 2, "bytes": 4096,
                   "accepts": true},
        "clients": {"connections": 7},
    });

    assert_eq!(get(&server, "/status").json(), expected);
    assert_eq!(get(&server, "/replay/status").json(), expected["replay"]);
}

#[test]
fn a_look_at_a_queue_tells_ages_and_counts() {
    let server = Server::start(3, None);
    let replay = Replay::of("memory", &*server.queue, 11_900_000);

    assert_eq!(replay.owed.named("B"), Some(5));
    assert_eq!(replay.oldest_seconds.named("B"), Some(Some(10)));
    assert_eq!(replay.oldest_seconds.named("A"), Some(None));
    assert_eq!(replay.dead_letters, 3);
}

#[test]
fn dead_letters_are_listed_page_by_page_and_shown_by_number() {
    let server = Server::start(5, None);

    let first = get(&server, "/dlq?max=2").json();
    assert_eq!(first["letters"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["next"], 2);
    let last = get(&server, "/dlq?after=4&max=2").json();
    assert_eq!(last["letters"][0]["number"], 5);
    assert_eq!(last["next"], Value::Null);

    assert_eq!(
        get(&server, "/dlq/3").json(),
        json!({"number": 3, "side": "B", "reason": "refused", "error": "unconfigured table t3",
               "parked_at": "2023-11-14T22:13:20.000Z", "size": 300, "content": null})
    );
    assert_eq!(get(&server, "/dlq/9").code, 404);
    assert_eq!(get(&server, "/dlq/nine").code, 400);
    assert_eq!(get(&server, "/dlq?max=-1").code, 400);
    assert_eq!(get(&server, "/dlq?maximum=1").code, 400);
}

#[test]
fn dead_letters_are_requeued_and_purged_by_number() {
    let server = Server::start(5, None);

    let moved = post(&server, "/dlq/requeue", r#"{"numbers":[2,3,77]}"#, "");
    assert_eq!(moved.json(), json!({"moved": 2, "more": false}));
    let moved = post(&server, "/dlq/purge", r#"{"numbers":[5]}"#, "");
    assert_eq!(moved.json(), json!({"moved": 1, "more": false}));

    assert_eq!(server.queue.numbers(), [1, 4]);
    assert_eq!(*server.queue.requeued.lock().expect("unbroken"), [2, 3]);
}

#[test]
fn all_letters_are_moved_a_thousand_at_a_time() {
    let server = Server::start(1_500, None);
    let moved = post(&server, "/dlq/purge", r#"{"all":true}"#, "");
    assert_eq!(moved.json(), json!({"moved": 1000, "more": true}));
    let moved = post(&server, "/dlq/purge", r#"{"all":true}"#, "");
    assert_eq!(moved.json(), json!({"moved": 500, "more": false}));
    assert!(server.queue.numbers().is_empty());
}

#[test]
fn a_choice_that_is_unclear_moves_nothing() {
    let server = Server::start(3, None);
    let many = format!("{{\"numbers\":{:?}}}", (0..1_001).collect::<Vec<_>>());
    for body in [
        "{}",
        r#"{"all":false}"#,
        r#"{"numbers":[1],"all":true}"#,
        r#"{"numbers":["1"]}"#,
        r#"{"number":[1]}"#,
        "[1]",
        "",
        &many,
    ] {
        let reply = post(&server, "/dlq/purge", body, "");
        assert!((400..=422).contains(&reply.code), "{body}: {}", reply.code);
        assert!(reply.json()["error"].is_string(), "{body}: {}", reply.body);
    }
    assert_eq!(server.queue.numbers(), [1, 2, 3]);
}

#[test]
fn a_foreign_host_header_is_turned_away() {
    let server = Server::start(1, None);
    for host in ["evil.example:9180", "10.0.0.1", "a b", ""] {
        let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let code = raw(&server, request.as_bytes()).code;
        assert!(matches!(code, 400 | 421), "{host:?}: {code}");
    }
    for request in [
        "GET /status HTTP/1.0\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(raw(&server, request.as_bytes()).code, 421, "{request}");
    }
}

#[test]
fn a_change_needs_the_token_where_one_is_set_and_a_look_does_not() {
    let server = Server::start(2, Some("secret"));
    let all = r#"{"all":true}"#;

    for header in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic secret\r\n",
    ] {
        let reply = post(&server, "/dlq/purge", all, header);
        assert_eq!(reply.code, 401, "{header}");
        assert!(!reply.body.contains("secret"), "{}", reply.body);
    }
    assert_eq!(get(&server, "/dlq").code, 200);
    assert_eq!(server.queue.numbers(), [1, 2]);

    let reply = post(
        &server,
        "/dlq/purge",
        all,
        "Authorization: Bearer secret\r\n",
    );
    assert_eq!(reply.code, 200, "{}", reply.body);
    assert!(server.queue.numbers().is_empty());
}

#[test]
fn what_a_page_in_a_browser_can_send_without_asking_changes_nothing() {
    let server = Server::start(2, None);
    let body = r#"{"all":true}"#;
    let request = format!(
        "POST /dlq/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );

    assert_eq!(raw(&server, request.as_bytes()).code, 415);
    assert_eq!(server.queue.numbers(), [1, 2]);
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_next_request_is_served() {
    let server = Server::start(1, None);
    let body = " ".repeat(1024 * 1024 + 1);
    let reply = post(&server, "/dlq/purge", &body, "");

    assert_eq!(reply.code, 413);
    assert_eq!(get(&server, "/health/live").code, 200);
}

#[test]
fn garbage_costs_its_own_connection_only() {
    let server = Server::start(1, None);
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(100_000)
    );
    for bytes in [
        &b"\x04\x00\x00\x00\x05\x00\x00\x00\x00\r\n\r\n"[..],
        b"\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut stream = connect(&server);
        // The server may close before it has read all.
        drop(stream.write_all(bytes));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(get(&server, "/health/live").code, 200);
}

#[test]
fn wrong_paths_and_methods_are_told_apart() {
    let server = Server::start(1, None);
    assert_eq!(get(&server, "/nothing").code, 404);
    assert_eq!(get(&server, "/dlq/purge").code, 405);
    assert_eq!(post(&server, "/status", "{}", "").code, 405);
}

#[test]
fn a_queue_that_fails_is_an_error_and_not_an_empty_list() {
    let server = Server::start(1, None);
    server.queue.broken.store(true, Ordering::Relaxed);

    let reply = get(&server, "/dlq");
    assert_eq!(reply.code, 503);
    assert_eq!(
        reply.json()["error"],
        "the replay queue cannot store records: disk full"
    );
}

#[test]
fn without_a_queue_there_are_no_dead_letters_to_move() {
    let server = Server::single();
    assert_eq!(get(&server, "/dlq").code, 404);
    assert_eq!(get(&server, "/health/ready").code, 200);
}

#[test]
fn shutdown_lets_go_of_a_connection_that_says_nothing() {
    let mut server = Server::start(0, None);
    let mut silent = connect(&server);
    silent.write_all(b"GET /sta").expect("half a request");

    server.stop();
    assert!(TcpStream::connect(server.address).is_err());
}

struct Reply {
    code: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn get(server: &Server, path: &str) -> Reply {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    raw(server, head.as_bytes())
}

fn post(server: &Server, path: &str, body: &str, headers: &str) -> Reply {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(server, request.as_bytes())
}

fn raw(server: &Server, request: &[u8]) -> Reply {
    let mut stream = connect(server);
    // A refusal may come, and the connection end, before all is sent.
    drop(stream.write_all(request));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        code: code.unwrap_or_else(|| panic!("no answer: {answer:?}")),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream
}
