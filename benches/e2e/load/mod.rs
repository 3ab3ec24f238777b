//! The load generator: pipelined prepared reads or writes from one epoll loop.
//!
//! Closed loop: each answer is followed by the next request in its place. Open loop (`--rate`):
//! requests are due at fixed times and their latency counts from then, however late they could
//! be sent, so a server that stalls cannot hide it (coordinated omission).

mod lanes;
mod setup;

use std::io::{Write, stdin, stdout};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::Fault;
use lanes::{Lanes, Tally};
pub(crate) use setup::{Tongue, handshake, read_frame};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address to send to.
    #[arg(long)]
    target: String,
    /// Client connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 32)]
    in_flight: u16,
    /// How long to measure.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How long to send before that, unmeasured.
    #[arg(long, default_value_t = 0.2)]
    warm_up: f64,
    /// What to send.
    #[arg(long, value_enum, default_value = "read")]
    kind: Kind,
    /// Requests a second, open loop; as fast as answers come when absent.
    #[arg(long)]
    rate: Option<f64>,
    /// How many different prepared statements to spread the requests over.
    #[arg(long, default_value_t = 1)]
    prepared: u32,
    /// Read and write values of 1 MiB, of a table of their own, in place of 100 bytes.
    #[arg(long)]
    large: bool,
    /// The protocol version to speak.
    #[arg(long, default_value_t = 4)]
    version: u8,
    /// The compression to ask for: lz4 or snappy.
    #[arg(long)]
    compression: Option<String>,
    /// Say `ready` before measuring and wait for a line, and again before closing.
    #[arg(long)]
    paced: bool,
}

/// What a request does, and to which table.
#[derive(Clone, Copy, Debug)]
struct What {
    kind: Kind,
    large: bool,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let tongue = Tongue {
        version: options.version,
        compression: options.compression.as_deref(),
    };
    let sockets = setup::connect(&options.target, options.connections, tongue)?;
    let what = What {
        kind: options.kind,
        large: options.large,
    };
    let requests = setup::prepare(&sockets[0], tongue, what, options.prepared)?;
    let mut lanes = Lanes::new(
        sockets,
        tongue.coding(),
        options.in_flight,
        options.kind,
        requests,
    )?;
    // Each statement once, so that what happens on first use is not measured.
    let first = u64::from(options.prepared);
    lanes.run(
        Duration::from_secs_f64(options.warm_up),
        options.rate,
        first,
    )?;
    if options.paced {
        say("ready")?;
        wait()?;
    }
    let tally = lanes.run(Duration::from_secs_f64(options.seconds), options.rate, 0)?;
    say(&report(&tally))?;
    if options.paced {
        wait()?;
    }
    Ok(())
}

fn report(tally: &Tally) -> String {
    let micros = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
    json!({
        "requests": tally.answers,
        "seconds": tally.elapsed.as_secs_f64(),
        "rate": tally.answers as f64 / tally.elapsed.as_secs_f64(),
        "p50_us": micros(0.5),
        "p99_us": micros(0.99),
        "p999_us": micros(0.999),
        "max_us": tally.latency.max() as f64 / 1000.0,
        "errors": tally.errors,
        "first_error": tally.first_error,
    })
    .to_string()
}

fn say(line: &str) -> Result<(), Fault> {
    println!("{line}");
    Ok(stdout().flush()?)
}

fn wait() -> Result<(), Fault> {
    stdin().read_line(&mut String::new())?;
    Ok(())
}
