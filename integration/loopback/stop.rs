//! How the process ends when it is asked to: in order, and at once when it is asked twice.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, with no runtime to block"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(20);
/// Less than a request in flight is waited for.
const AT_ONCE: Duration = Duration::from_secs(5);
const QUERY: &[u8] = b"\x04\0\0\x01\x07\0\0\0\x0d\0\0\0\x06SELECT\0\x01\0";
const STARTUP: &[u8] = b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0";

/// A proxy over one cluster that lets it in and then answers nothing.
struct Stage {
    process: Option<Child>,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        let (cluster, listen, admin) = (node.local_addr().unwrap(), free(), free());
        thread::spawn(move || node.incoming().for_each(|it| be_mute(it.unwrap())));
        let process = Command::new(env!("CARGO_BIN_EXE_helix-proxy"))
            .args(["run", "--cluster-a", &cluster.to_string()])
            .args(["--listen", &listen.to_string()])
            .args(["--admin", &admin.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            process: Some(process),
            listen,
            admin,
        }
    }

    /// A client whose read is in flight.
    fn client(&self) -> TcpStream {
        let mut client = eventually(|| TcpStream::connect(self.listen).ok());
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
        let mut admin = TcpStream::connect(self.admin).ok()?;
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        admin.write_all(head.as_bytes()).ok()?;
        let mut page = String::new();
        admin.read_to_string(&mut page).ok()?;
        Some(page)
    }

    fn ask(&self, signal: Signal) {
        let id = self.process.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its exit code, what it said, and how long that took.
    fn end(mut self) -> (Option<i32>, String, Duration) {
        let since = Instant::now();
        let Output { status, stderr, .. } =
            self.process.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        (status.code(), said, since.elapsed())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let stage = Stage::new();
        let _client = stage.client();
        stage.ask(signal);
        eventually(|| TcpStream::connect(stage.listen).is_err().then_some(()));
        assert!(stage.metrics().is_some(), "an operator can watch");
        stage.ask(signal);
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
    stage.ask(Signal::TERM);
    let (ended, said, _) = stage.end();
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}

/// Says READY to STARTUP and nothing to anything else.
fn be_mute(mut stream: TcpStream) {
    thread::spawn(move || {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut body = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut body).unwrap();
            if head[4] == 0x01 {
                let ready = [0x84, 0, head[2], head[3], 0x02, 0, 0, 0, 0];
                stream.write_all(&ready).unwrap();
            }
        }
    });
}

fn free() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap()
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < SOON, "it took too long");
        thread::sleep(Duration::from_millis(20));
    }
}
