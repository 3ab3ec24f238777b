//! helix-proxy, the binary: arguments, logging, exit code.
//!
//! Exit codes: 0 fine, 1 failed, 2 usage or configuration, 130 or 143 asked to stop twice.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use helix_proxy::app;
use helix_proxy::cli::{self, Terminal};
use helix_proxy::config::{self, Config, Faults, Flags};
use helix_proxy::session::Users;
use helix_proxy::telemetry::log;

const USAGE: u8 = 2;

/// Keeps two independent Cassandra clusters alive with the same data
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve clients until SIGINT or SIGTERM
    Run(Run),
    /// Tell every fault of a file, or its effective values
    Check {
        /// The file to check
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the line of a user for the file auth.users; the password is read from standard input
    User {
        /// What the user is called
        name: String,
    },
    #[command(flatten)]
    Ask(cli::Command),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("clusters").required(true).args(["config", "cluster_a"]))]
struct Run {
    /// The configuration; every key is explained in config/helix-proxy.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A node of cluster A, instead of a file
    #[arg(long, value_name = "HOST:PORT")]
    cluster_a: Option<String>,
    /// A node of cluster B; without it, A is served alone
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "cluster_a",
        conflicts_with = "config"
    )]
    cluster_b: Option<String>,
    /// Where clients connect [default: 127.0.0.1:9042]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        requires = "cluster_a",
        conflicts_with = "config"
    )]
    listen: Option<String>,
    /// Where metrics, health and the commands are answered [default: 127.0.0.1:9180]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        requires = "cluster_a",
        conflicts_with = "config"
    )]
    admin: Option<String>,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Run(run) => self::run(run),
        Verb::Check { config } => check(&config),
        Verb::User { name } => user(&name),
        Verb::Ask(command) => ask(&command),
    }
}

fn run(run: Run) -> ExitCode {
    let config = match configure(run) {
        Ok(config) => config,
        Err(faults) => return fail(USAGE, &faults.to_string()),
    };
    if let Err(error) = log::install(&config.log, env(log::FILTER_VARIABLE).as_deref()) {
        return fail(USAGE, &error.to_string());
    }
    match app::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn configure(run: Run) -> Result<Config, Faults> {
    let Run {
        config,
        cluster_a,
        cluster_b,
        listen,
        admin,
    } = run;
    match config {
        Some(path) => config::load_file(&path),
        None => config::from_flags(&Flags {
            cluster_a: cluster_a.unwrap_or_default(),
            cluster_b,
            listen,
            admin,
        }),
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    match config::load_file(path) {
        Ok(config) => {
            let text = format!(
                "# ok: the effective values of {}\n{}",
                path.display(),
                config.summary()
            );
            print(&mut io::stdout(), text.trim_end());
            ExitCode::SUCCESS
        }
        Err(faults) => fail(USAGE, &faults.to_string()),
    }
}

fn user(name: &str) -> ExitCode {
    let mut password = String::new();
    if let Err(error) = io::stdin().read_line(&mut password) {
        return fail(1, &format!("the password cannot be read: {error}"));
    }
    match Users::line(name, password.trim_end_matches(['\r', '\n'])) {
        Ok(line) => {
            print(&mut io::stdout(), &line);
            ExitCode::SUCCESS
        }
        Err(why) => fail(USAGE, why),
    }
}

fn ask(command: &cli::Command) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
        env: &env,
    };
    cli::execute(command, &mut terminal).into()
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn fail(code: u8, text: &str) -> ExitCode {
    print(&mut io::stderr(), text);
    ExitCode::from(code)
}

/// Nobody is left to tell when even this cannot be written.
fn print(to: &mut dyn Write, text: &str) {
    drop(writeln!(to, "{text}"));
}
