//! How the process ends when it is asked to: in order, and at once when it is asked twice.
#![allow(
    clippy::disallowed_methods,
    reason = "a test, with no runtime to block"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Process, QUIET, eventually, read};
use rustix::process::Signal;

/// Less than a request in flight is waited for.
const AT_ONCE: Duration = Duration::from_secs(5);
const QUERY: &[u8] = b"\x04\0\0\x01\x07\0\0\0\x0d\0\0\0\x06SELECT\0\x01\0";
const STARTUP: &[u8] = b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0";

/// A proxy over one cluster that lets it in and then answers nothing.
struct Stage(Process);

impl Stage {
    fn new() -> Self {
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = node.local_addr().unwrap();
        thread::spawn(move || node.incoming().for_each(|it| be_mute(it.unwrap())));
        Self(Process::start(address, QUIET, Stdio::piped()))
    }

    /// A client whose read is in flight.
    fn client(&self) -> TcpStream {
        let mut client = eventually(|| TcpStream::connect(self.0.listen).ok());
        client.write_all(STARTUP).unwrap();
        client.read_exact(&mut [0; 9]).unwrap();
        client.write_all(QUERY).unwrap();
        eventually(|| {
            self.metrics()?
                .contains("{kind=\"unknown\"} 1\n")
                .then_some(())
        });
        client
    }

    fn metrics(&self) -> Option<String> {
        self.0.get("/metrics")
    }

    /// Its exit code, what it said, and how long that took.
    fn end(self) -> (Option<i32>, String, Duration) {
        let since = Instant::now();
        let Output { status, stderr, .. } = self.0.end();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        (status.code(), said, since.elapsed())
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let stage = Stage::new();
        let _client = stage.client();
        stage.0.signal(signal);
        eventually(|| TcpStream::connect(stage.0.listen).is_err().then_some(()));
        assert!(stage.metrics().is_some(), "an operator can watch");
        stage.0.signal(signal);
        let (ended, said, took) = stage.end();
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("leaving at once"), "{said}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[test]
fn one_signal_ends_the_process_in_order() {
    let stage = Stage::new();
    drop(stage.client());
    stage.0.signal(Signal::TERM);
    let (ended, said, _) = stage.end();
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}

/// Says READY to STARTUP and nothing to anything else.
fn be_mute(mut stream: TcpStream) {
    thread::spawn(move || {
        while let Ok((head, _)) = read(&mut stream) {
            if head[4] == 0x01 {
                let ready = [0x84, 0, head[2], head[3], 0x02, 0, 0, 0, 0];
                stream.write_all(&ready).unwrap();
            }
        }
    });
}
