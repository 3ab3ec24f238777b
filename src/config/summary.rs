//! The effective values as `check` prints them: a YAML file that would load to the same.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cluster::{self, Compression, Kept, ProtocolMax};
use crate::pair::Side;
use crate::policy::{
    Ack, Failover, Journal, OnQueueFailure, Preferred, ReadStrategy, WriteStrategy,
};
use crate::replay::Store;
use crate::session::Door;
use crate::socket::tls::Identity;
use crate::telemetry::log;

use super::Config;
use super::value::show_size;

impl Config {
    /// The effective values, defaults included, as a YAML file that loads to the same.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut page = Page(String::new());
        self.edge(&mut page);
        self.clusters(&mut page);
        self.routing(&mut page);
        self.replay(&mut page);
        self.rest(&mut page);
        page.0
    }

    fn edge(&self, page: &mut Page) {
        page.text("listen", &self.session.listen.to_string());
        page.section("admin")
            .text("  listen", &self.admin.listen.to_string());
        page.line("workers", self.workers);
        page.text("instance", &self.instance);
        page.line("protocol_max", protocol_max(self.dispatch.protocol_max));
    }

    fn clusters(&self, page: &mut Page) {
        page.section("clusters");
        for (side, cluster) in self.clusters.iter() {
            page.section(match side {
                Side::A => "  a",
                Side::B => "  b",
            });
            page.line("    name", &cluster.name);
            let nodes = cluster
                .contact_points
                .iter()
                .map(|node| quoted(&node.to_string()));
            let nodes: Vec<_> = nodes.collect();
            page.line("    contact_points", format_args!("[{}]", nodes.join(", ")));
            page.maybe("    local_datacenter", cluster.local_datacenter.as_deref());
            page.span("    connect_timeout", cluster.connect_timeout);
            page.span("    heartbeat", cluster.heartbeat);
            page.line("    compression", compression(cluster.compression));
            if let Some(tls) = &cluster.tls {
                let files = tls.files();
                page.section("    tls");
                page.text("      ca", &files.ca.to_string_lossy());
                page.identity("      ", files.identity.as_ref());
                page.line("      verify_hostname", files.verify_hostname);
            }
            if let Some(account) = &cluster.account {
                page.section("    auth");
                page.text("      username", &account.username);
                match &account.kept {
                    Kept::Variable(name) => page.text("      password_env", name),
                    Kept::File(path) => page.text("      password_file", &path.to_string_lossy()),
                }
            }
        }
    }

    fn routing(&self, page: &mut Page) {
        let (writes, reads) = (&self.policy.writes, &self.policy.reads);
        page.section("writes");
        match writes.strategy {
            WriteStrategy::Concurrent => page.line("  strategy", "concurrent"),
            WriteStrategy::Sync { first } => {
                page.line("  strategy", "sync");
                let names = [first, !first].map(|side| self.clusters.get(side));
                let names: Vec<_> = names
                    .into_iter()
                    .flatten()
                    .map(|cluster| cluster.name.as_str())
                    .collect();
                page.line("  order", format_args!("[{}]", names.join(", ")));
            }
        }
        page.line("  ack", ack(writes.ack));
        page.line("  journal", journal(writes.journal));
        page.span("  timeout", self.dispatch.deadlines.write);
        page.line(
            "  on_queue_failure",
            on_queue_failure(writes.on_queue_failure),
        );
        page.section("reads");
        let ReadStrategy::Sticky {
            preferred,
            cooldown,
        } = reads.strategy;
        page.line("  strategy", "sticky");
        page.line(
            "  preferred",
            match preferred {
                Preferred::Random => "random",
                Preferred::Side(side) => self.name(side),
            },
        );
        page.span("  cooldown", cooldown);
        page.span("  timeout", self.dispatch.deadlines.read);
        page.span("  failover_after", self.dispatch.deadlines.failover_after);
        page.line("  prefer_fresh", reads.prefer_fresh);
        page.section("failover");
        match self.policy.failover {
            Failover::Active => page.line("  policy", "active"),
            Failover::CircuitBreaker {
                threshold,
                reset_after,
            } => {
                page.line("  policy", "circuit_breaker");
                page.line("  threshold", threshold);
                page.span("  reset_after", reset_after);
            }
        }
        page.section("conditional")
            .line("  cluster", self.name(self.policy.conditional.home));
        page.line("  copy", "off");
    }

    fn replay(&self, page: &mut Page) {
        page.section("replay");
        match &self.replay.store {
            Store::Disk { path, max_bytes } => {
                page.line("  queue", "disk");
                page.text("  path", &path.to_string_lossy());
                page.line("  max_bytes", show_size(max_bytes.get()));
            }
            Store::Memory { capacity } => {
                page.line("  queue", "memory");
                page.line("  capacity", capacity);
            }
        }
        let worker = &self.replay.worker;
        page.line("  worker", "embedded");
        page.line("  batch", worker.batch);
        page.line("  concurrency", worker.concurrency);
        page.line("  rate", worker.rate.map_or(0, std::num::NonZero::get));
        page.span("  timeout", worker.timeout);
        page.span("  retry_min", worker.retry_min);
        page.span("  retry_max", worker.retry_max);
        page.line(
            "  attempts_max",
            worker.attempts_max.map_or(0, std::num::NonZero::get),
        );
        page.span("  divergence_grace", worker.divergence_grace);
    }

    fn rest(&self, page: &mut Page) {
        page.section("limits");
        page.line("  frame", show_size(self.session.frame_max.get().into()));
        page.line("  clients", self.session.clients_max);
        page.line("  in_flight", self.session.in_flight_max);
        page.span("  schema_timeout", self.dispatch.deadlines.schema);
        let advertise = &self.dispatch.advertise;
        page.section("advertise");
        page.maybe("  datacenter", advertise.datacenter.as_deref());
        page.maybe("  rack", advertise.rack.as_deref());
        page.maybe("  cluster_name", advertise.cluster_name.as_deref());
        page.line("  host_id", advertise.host_id);
        page.section("log").line(
            "  format",
            match self.log.format {
                log::Format::Json => "json",
                log::Format::Text => "text",
            },
        );
        page.text("  level", &self.log.filter);
        match &self.door {
            Door::Open => {}
            Door::Clusters => page.section("auth").line("  mode", "passthrough"),
            Door::Users(users) => {
                page.section("auth").line("  mode", "service");
                page.text("  users", &users.path().to_string_lossy());
            }
        }
        if let Some(tls) = &self.tls {
            let files = tls.files();
            page.section("tls").identity("  ", Some(&files.identity));
            let client_ca = files.client_ca.as_ref().map(|path| path.to_string_lossy());
            page.maybe("  client_ca", client_ca.as_deref());
        }
    }

    fn name(&self, side: Side) -> &str {
        let cluster: Option<&cluster::Config> = self.clusters.get(side);
        cluster.map_or_else(|| side.label(), |cluster| cluster.name.as_str())
    }
}

const fn protocol_max(max: ProtocolMax) -> &'static str {
    match max {
        ProtocolMax::Auto => "auto",
        ProtocolMax::V3 => "v3",
        ProtocolMax::V4 => "v4",
        ProtocolMax::V5 => "v5",
    }
}

const fn compression(compression: Option<Compression>) -> &'static str {
    match compression {
        None => "none",
        Some(Compression::Lz4) => "lz4",
        Some(Compression::Snappy) => "snappy",
    }
}

const fn ack(ack: Ack) -> &'static str {
    match ack {
        Ack::All => "all",
        Ack::Any => "any",
    }
}

const fn journal(journal: Journal) -> &'static str {
    match journal {
        Journal::Always => "always",
        Journal::Degraded => "degraded",
        Journal::Off => "off",
    }
}

const fn on_queue_failure(answer: OnQueueFailure) -> &'static str {
    match answer {
        OnQueueFailure::AckAnyway => "ack_anyway",
        OnQueueFailure::FailWrite => "fail_write",
    }
}

/// A YAML text in the making; keys bring their indentation along.
struct Page(String);

impl Page {
    fn section(&mut self, key: &str) -> &mut Self {
        self.0.push_str(key);
        self.0.push_str(":\n");
        self
    }

    fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{key}: {value}").expect("a String takes all");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(key, quoted(value));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn identity(&mut self, indent: &str, identity: Option<&Identity>) {
        if let Some(Identity { cert, key }) = identity {
            self.text(&format!("{indent}cert"), &cert.to_string_lossy());
            self.text(&format!("{indent}key"), &key.to_string_lossy());
        }
    }

    fn span(&mut self, key: &str, duration: Duration) {
        self.line(key, humantime::format_duration(duration));
    }
}

/// A JSON string, which is a YAML string as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
