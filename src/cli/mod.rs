//! The commands that talk to the admin address.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

mod client;
mod letters;
mod table;

use crate::control::status::{Replay, Status};
use client::{Client, Fault};

/// What an operator asks of a running proxy.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tell how the proxy and its clusters do
    Status(StatusArgs),
    /// Look at replay: what the clusters owe
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// List, show, requeue and purge dead letters
    #[command(subcommand)]
    Dlq(DlqCommand),
}

/// Where the proxy's admin address is.
#[derive(Args, Clone, Debug)]
pub struct Admin {
    /// The proxy's admin address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9180", value_parser = host_port)]
    pub admin: String,
    /// The environment variable that holds the admin token
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
}

/// `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Only tell by the exit code whether clients can be served: 0 or 1
    #[arg(long, conflicts_with = "json")]
    pub ready: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub admin: Admin,
}

/// `replay ...`.
#[derive(Clone, Debug, Subcommand)]
pub enum ReplayCommand {
    /// Tell what each cluster owes
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        admin: Admin,
    },
}

/// `dlq ...`.
#[derive(Clone, Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters in order of their numbers
    List {
        /// Only those numbered above N
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: i64,
        /// At most N, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        max: u16,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        admin: Admin,
    },
    /// Show one dead letter
    Show {
        /// Its number
        number: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        admin: Admin,
    },
    /// Give dead letters back to replay
    Requeue {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Where to ask.
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete dead letters for good
    Purge {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Needed with --all: there is no way back
        #[arg(long)]
        yes: bool,
        /// Where to ask.
        #[command(flatten)]
        admin: Admin,
    },
}

/// Which dead letters.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Their numbers
    #[arg(value_name = "N")]
    pub numbers: Vec<i64>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// Where a command writes, and what it may know of its environment.
pub struct Terminal<'a> {
    /// For results.
    pub out: &'a mut dyn Write,
    /// For faults.
    pub err: &'a mut dyn Write,
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// 0: done.
    Fine,
    /// 1: the proxy did not answer, refused, or is not ready.
    Failed,
    /// 2: the command was not understood.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Usage => Self::from(2),
        }
    }
}

/// Carries a command out.
pub fn execute(command: &Command, terminal: &mut Terminal<'_>) -> Exit {
    match run(command, terminal) {
        Ok(exit) => exit,
        Err(Fault::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(fault) => {
            // Nobody is left to tell when even that cannot be written.
            drop(writeln!(terminal.err, "helix-proxy: {fault}"));
            fault.exit()
        }
    }
}

fn run(command: &Command, terminal: &mut Terminal<'_>) -> Result<Exit, Fault> {
    match command {
        Command::Status(args) => status(args, terminal),
        Command::Replay(ReplayCommand::Status { json, admin }) => {
            let client = Client::new(admin, terminal.env)?;
            let replay = client.get("/replay/status")?;
            print(replay, *json, terminal.out, table::replay)
        }
        Command::Dlq(command) => letters::run(command, terminal),
    }
}

fn status(args: &StatusArgs, terminal: &mut Terminal<'_>) -> Result<Exit, Fault> {
    let client = Client::new(&args.admin, terminal.env)?;
    if !args.ready {
        return print(
            client.get("/status")?,
            args.json,
            terminal.out,
            table::status,
        );
    }
    match client.ready()? {
        Ok(()) => Ok(Exit::Fine),
        Err(reason) => {
            writeln!(terminal.err, "not ready: {}", table::plain(&reason))?;
            Ok(Exit::Failed)
        }
    }
}

/// Prints an answer as JSON, or as people read it.
fn print<T: serde::de::DeserializeOwned>(
    answer: serde_json::Value,
    json: bool,
    out: &mut dyn Write,
    people: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
) -> Result<Exit, Fault> {
    if json {
        writeln!(out, "{answer:#}")?;
    } else {
        let answer = serde_json::from_value(answer).map_err(Fault::Shape)?;
        people(&answer, out)?;
    }
    Ok(Exit::Fine)
}

fn host_port(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(_)) | None => Err("expected HOST:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests;
