//! The test bed: two stub clusters, the forwarder, and the proxy with one and with two workers.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Options;
use crate::Fault;
use crate::child::{Nest, Process, myself, until, until_listening};

/// Ports are taken from below the range of outgoing connections: a stub that is away must find
/// its own still free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Something that a load can be sent through.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) process: Process,
    /// Where `/status` is asked; a forwarder has none.
    admin: Option<u16>,
}

/// All that runs while the table is measured.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) nest: Nest,
    pub(super) forwarder: Way,
    /// With one worker, then with two.
    pub(super) proxies: Vec<Way>,
    stubs: [Option<Process>; 2],
    pub(super) stub_ports: [u16; 2],
}

impl Bed {
    pub(super) fn new(dir: &Path, options: &Options) -> Result<Self, Fault> {
        let nest = Nest::new(dir)?;
        let mut ports = Ports(PORTS.start + u16::try_from(std::process::id() % 8_000)?);
        let stub_ports = [ports.next()?, ports.next()?];
        let stubs = [
            Some(start_stub(&nest, stub_ports[0])?),
            Some(start_stub(&nest, stub_ports[1])?),
        ];
        let forwarder = start_forwarder(&nest, "forwarder", ports.next()?, stub_ports[0])?;
        let mut proxies = Vec::new();
        if options.stand_in {
            proxies.push(start_forwarder(
                &nest,
                "stand-in",
                ports.next()?,
                stub_ports[0],
            )?);
        } else {
            let binary = fs::canonicalize(&options.proxy).map_err(|error| {
                format!(
                    "{}: {error}; build it, or use --stand-in",
                    options.proxy.display()
                )
            })?;
            for (name, workers) in [("proxy, 1 worker", 1), ("proxy, 2 workers", 2)] {
                let place = dir.join(format!("proxy-{workers}"));
                fs::create_dir(&place)?;
                let plan = Plan {
                    name,
                    workers,
                    place,
                    port: ports.next()?,
                    admin: ports.next()?,
                };
                proxies.push(plan.start(&nest, &binary, stub_ports, options.brief)?);
            }
        }
        Ok(Self {
            nest,
            forwarder,
            proxies,
            stubs,
            stub_ports,
        })
    }

    /// Forwarder and proxies.
    pub(super) fn ways(&self) -> Vec<&Way> {
        std::iter::once(&self.forwarder)
            .chain(&self.proxies)
            .collect()
    }

    /// The one with two workers, as it is by default; the stand-in has only one.
    pub(super) fn usual(&self) -> Result<&Way, Fault> {
        self.proxies.last().ok_or_else(|| "no proxy".into())
    }

    pub(super) fn kill_b(&mut self) {
        drop(self.stubs[1].take());
    }

    pub(super) fn revive_b(&mut self) -> Result<(), Fault> {
        self.stubs[1] = Some(start_stub(&self.nest, self.stub_ports[1])?);
        Ok(())
    }
}

impl Way {
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where `/status` is asked.
    pub(super) fn admin_address(&self) -> Result<String, Fault> {
        let port = self.admin.ok_or("a forwarder has no status")?;
        Ok(format!("127.0.0.1:{port}"))
    }

    pub(super) fn breaker_of_b(&self) -> Result<String, Fault> {
        let status = status(&self.admin_address()?)?;
        Ok(status["clusters"]["B"]["state"]
            .as_str()
            .ok_or("no state of B")?
            .to_owned())
    }

    /// Records that cluster B is still owed.
    pub(super) fn owed_to_b(&self) -> Result<u64, Fault> {
        owed_at(&self.admin_address()?)
    }
}

/// Records that cluster B is still owed, by the proxy with this admin address.
pub(super) fn owed_at(admin: &str) -> Result<u64, Fault> {
    Ok(status(admin)?["replay"]["owed"]["B"]
        .as_u64()
        .ok_or("no replay.owed.B")?)
}

/// The proxy's own account of itself.
fn status(admin: &str) -> Result<Value, Fault> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let mut answer = agent.get(format!("http://{admin}/status")).call()?;
    Ok(answer.body_mut().read_json()?)
}

fn start_stub(nest: &Nest, port: u16) -> Result<Process, Fault> {
    let listen = format!("127.0.0.1:{port}");
    let mut process = nest.start(myself()?.args(["stub", "--listen", &listen]))?;
    until_listening(port, &mut process)?;
    Ok(process)
}

fn start_forwarder(nest: &Nest, name: &'static str, port: u16, to: u16) -> Result<Way, Fault> {
    let (listen, target) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{to}"));
    let arguments = ["forward", "--listen", &listen, "--target", &target];
    let mut process = nest.start(myself()?.args(arguments))?;
    until_listening(port, &mut process)?;
    Ok(Way {
        name,
        port,
        process,
        admin: None,
    })
}

/// A proxy about to be started.
struct Plan {
    name: &'static str,
    workers: usize,
    place: PathBuf,
    port: u16,
    admin: u16,
}

impl Plan {
    fn start(self, nest: &Nest, binary: &Path, stubs: [u16; 2], brief: bool) -> Result<Way, Fault> {
        let config = self.place.join("helix-proxy.yaml");
        let log = self.place.join("log");
        fs::write(&config, self.config(stubs, brief))?;
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .current_dir(&self.place);
        command.stderr(File::create(&log)?);
        let process = nest.start(&mut command)?;
        let Self {
            name, port, admin, ..
        } = self;
        let mut way = Way {
            name,
            port,
            process,
            admin: Some(admin),
        };
        let address = way.admin_address()?;
        let ready = until(Duration::from_secs(20), "a ready proxy", || {
            if way.process.has_ended() {
                return Err("the proxy ended".into());
            }
            Ok(status(&address).is_ok_and(|status| status["ready"] == true))
        });
        if let Err(error) = ready {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("{name}: {error}; it said:\n{said}").into());
        }
        Ok(way)
    }

    fn config(&self, stubs: [u16; 2], brief: bool) -> String {
        let Self {
            workers,
            port,
            admin,
            place,
            ..
        } = self;
        let queue = place.join("replay.db");
        let [a, b] = stubs.map(|port| format!("contact_points: [\"127.0.0.1:{port}\"]"));
        let reset_after = if brief { "1s" } else { "5s" };
        format!(
            "listen: 127.0.0.1:{port}\n\
             admin: {{ listen: 127.0.0.1:{admin} }}\n\
             workers: {workers}\n\
             clusters:\n  a: {{ name: A, {a} }}\n  b: {{ name: B, {b} }}\n\
             reads: {{ strategy: sticky, preferred: A }}\n\
             failover: {{ policy: circuit_breaker, reset_after: {reset_after} }}\n\
             replay: {{ queue: disk, path: {} }}\n",
            queue.display()
        )
    }
}

/// Hands out ports on which nothing listens.
struct Ports(u16);

impl Ports {
    fn next(&mut self) -> Result<u16, Fault> {
        while self.0 < PORTS.end {
            let port = self.0;
            self.0 += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        Err("no free port".into())
    }
}
