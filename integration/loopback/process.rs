//! A whole process, for the tests that need one.
#![allow(
    clippy::disallowed_methods,
    reason = "a test: who calls this blocks nobody"
)]

use std::io::{Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Where nobody's client is given a port for its own end.
pub(crate) const QUIET: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

/// A proxy, and where it listens. It ends with its test.
pub(crate) struct Process {
    child: Option<Child>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    /// One over this node, for clients at this address.
    pub(crate) fn start(node: SocketAddr, at: IpAddr, stderr: Stdio) -> Self {
        Self::run((free(at), free(QUIET)), |run, (listen, admin)| {
            run.args(["--cluster-a", &node.to_string()])
                .args(["--listen", &listen.to_string()])
                .args(["--admin", &admin.to_string()])
                .stderr(stderr);
        })
    }

    /// One that is set up with what was free a moment ago: where it listens, and its admin address.
    pub(crate) fn run(
        (listen, admin): (SocketAddr, SocketAddr),
        set_up: impl FnOnce(&mut Command, (SocketAddr, SocketAddr)),
    ) -> Self {
        let mut run = Command::new(env!("CARGO_BIN_EXE_helix-proxy"));
        set_up(run.arg("run"), (listen, admin));
        Self {
            child: Some(run.spawn().unwrap()),
            listen,
            admin,
        }
    }

    /// What the admin address answers, head and body.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut admin = TcpStream::connect(self.admin).ok()?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        admin.write_all(head.as_bytes()).ok()?;
        let mut page = String::new();
        admin.read_to_string(&mut page).ok()?;
        Some(page)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// One plain frame: its header and its body.
pub(crate) fn read(stream: &mut TcpStream) -> Result<([u8; 9], Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

pub(crate) fn free(at: IpAddr) -> SocketAddr {
    let probe = TcpListener::bind((at, 0)).unwrap();
    probe.local_addr().unwrap()
}

pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < SOON, "it took too long");
        thread::sleep(Duration::from_millis(20));
    }
}
