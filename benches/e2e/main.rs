//! What a request costs end to end: a stub cluster, a load generator, a raw TCP forwarder and
//! the table that compares helix-proxy with the forwarder in one run.
//!
//! Every role is a process of its own, so that the CPU of each is known by itself. The roles are
//! this same program run again with another subcommand; all are blocking or plain epoll loops
//! that know nothing of the library under test. `benches/run` is the one command.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command line program with plain threads and no runtime to stall"
)]

mod child;
mod coding;
mod forward;
mod idle;
mod link;
mod load;
mod stub;
mod table;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Whatever stops a role: the text is for the person who ran the bench.
type Fault = Box<dyn std::error::Error>;

#[derive(Debug, Parser)]
#[command(
    name = "e2e",
    about = "End-to-end cost of helix-proxy",
    args_override_self = true
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Copies bytes between clients and one target with two blocking threads a connection.
    Forward(forward::Options),
    /// Opens connections, completes the handshake and holds them.
    Idle(idle::Options),
    /// Sends prepared reads or writes and reports rate and latency as JSON.
    Load(load::Options),
    /// A CQL backend that answers at once.
    Stub(stub::Options),
    /// Measures forwarder and proxy side by side and prints the table.
    Table(table::Options),
    /// Ends the processes named on standard input when that input ends.
    #[command(hide = true)]
    Watch,
}

fn main() -> ExitCode {
    // `cargo bench` adds this flag for harnesses that can also run tests.
    let arguments = std::env::args().filter(|argument| argument != "--bench");
    let outcome = match Cli::parse_from(arguments).role {
        Some(Role::Forward(options)) => forward::run(&options),
        Some(Role::Idle(options)) => idle::run(&options),
        Some(Role::Load(options)) => load::run(&options),
        Some(Role::Stub(options)) => stub::run(&options),
        Some(Role::Table(options)) => table::run(&options),
        Some(Role::Watch) => watch::run(),
        // A plain `cargo bench` or `cargo test --all-targets` runs every target without a word.
        None => {
            println!("e2e: nothing asked for; `benches/run` prints the table");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("e2e: {fault}");
            ExitCode::FAILURE
        }
    }
}
