//! The processes that the table starts: each is killed and waited for when its owner is done.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Fault;

/// Starts processes and lets the watchdog know of them.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    watchdog: Rc<Watchdog>,
}

/// The process of `watch.rs`; it ends by itself once its input does.
#[derive(Debug)]
struct Watchdog {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.process.wait());
    }
}

impl Nest {
    /// The directory is removed by the watchdog, whatever happens to this process.
    pub(crate) fn new(dir: &Path) -> Result<Self, Fault> {
        let mut process = myself()?
            .arg("watch")
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take();
        let watchdog = Rc::new(Watchdog { process, orders });
        let nest = Self { watchdog };
        nest.order(&format!("dir {}", dir.display()))?;
        Ok(nest)
    }

    fn order(&self, order: &str) -> Result<(), Fault> {
        // One write, so that an order is never torn.
        let mut orders = self.watchdog.orders.as_ref().ok_or("no watchdog")?;
        Ok(orders.write_all(format!("{order}\n").as_bytes())?)
    }

    /// Starts a process with its standard input and output in our hands.
    pub(crate) fn start(&self, command: &mut Command) -> Result<Process, Fault> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        let process = Process {
            child,
            input,
            output,
            nest: self.clone(),
        };
        self.order(&format!("+ {}", process.id()))?;
        Ok(process)
    }
}

/// This program, to be run again in another role.
pub(crate) fn myself() -> Result<Command, Fault> {
    Ok(Command::new(std::env::current_exe()?))
}

/// A running process of ours.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
    nest: Nest,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time that the process has used, children not counted.
    pub(crate) fn cpu(&self) -> Result<Duration, Fault> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The name may hold anything, so the fields are counted from its closing bracket.
        let (_, fields) = stat.rsplit_once(')').ok_or("stat without a name")?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let user = times.next().ok_or("stat without utime")??;
        let system = times.next().ok_or("stat without stime")??;
        let ticks = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(
            (user + system) as f64 / ticks as f64,
        ))
    }

    /// Resident memory in KiB.
    pub(crate) fn rss(&self) -> Result<u64, Fault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line
            .ok_or("no VmRSS")?
            .trim()
            .trim_end_matches("kB")
            .trim()
            .parse()?)
    }

    /// The next line that the process prints.
    pub(crate) fn line(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        let output = self.output.as_mut().ok_or("no output")?;
        if output.read_line(&mut line)? == 0 {
            return Err("a process of the bench ended early".into());
        }
        Ok(line.trim().to_owned())
    }

    /// Lets a process that waits for a line go on.
    pub(crate) fn go_on(&mut self) -> Result<(), Fault> {
        let input = self.input.as_mut().ok_or("no input")?;
        input.write_all(b"\n")?;
        Ok(input.flush()?)
    }

    /// Closes its input and waits for its own end.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a role ended with {status}").into())
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.nest.order(&format!("- {}", self.child.id())));
    }
}

/// Asks `done` every few milliseconds until it says yes.
pub(crate) fn until(
    limit: Duration,
    what: &str,
    mut done: impl FnMut() -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let end = Instant::now() + limit;
    while !done()? {
        if end < Instant::now() {
            return Err(format!("waited {limit:?} in vain for {what}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until something listens on a port of this machine.
pub(crate) fn until_listening(port: u16, process: &mut Process) -> Result<(), Fault> {
    until(
        Duration::from_secs(20),
        &format!("a listener on port {port}"),
        || {
            if process.has_ended() {
                return Err(format!("the process for port {port} ended").into());
            }
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        },
    )
}
