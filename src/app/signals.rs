//! What an operator says to the process from outside: stop, and stop at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop the process. Once made they no longer end it by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }
}

impl Asked {
    /// The exit code by which shells know a process that it ended.
    pub(super) const fn code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Ends the process as a kill would: nothing acknowledged is lost, and nothing else is waited for.
#[expect(
    clippy::exit,
    reason = "unwinding would wait for the threads that are given up"
)]
pub(super) fn leave(code: i32, why: &'static str) -> ! {
    tracing::warn!(
        why,
        code,
        "leaving at once: requests in flight are not answered"
    );
    std::process::exit(code)
}
