//! From values to the rooms' configurations.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

use uuid::Uuid;

use crate::cluster::ProtocolMax;
use crate::session::Door;
use crate::telemetry::log;
use crate::{control, dispatch, replay, session};

use super::clusters::{Names, addresses, cluster};
use super::fault::{Fault, did_you_mean};
use super::host::Host;
use super::read::Reader;
use super::routing::policy;
use super::{Clusters, Config, auth, tls};

const SHORTEST: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const UP_TO_AN_HOUR: RangeInclusive<Duration> = SHORTEST..=HOUR;

const WORKERS_MAX: u16 = 256;
const WORKERS_DEFAULT: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const WORD_MAX: usize = 128;
const FRAME_MIN: u64 = 1 << 10;
const STORE_MIN: u64 = 1 << 20;
const STORE_MAX: u64 = 1 << 50;

/// The configuration, or every fault of it.
pub(super) fn build(mut reader: Reader, host: &Host) -> Result<Config, Vec<Fault>> {
    let config = assemble(&mut reader, host);
    match (config, reader.into_faults()) {
        (Some(config), faults) if faults.is_empty() => Ok(config),
        (_, faults) => Err(faults),
    }
}

/// `None` only where a fault was noted.
pub(super) fn assemble(r: &mut Reader, host: &Host) -> Option<Config> {
    let session = session(r);
    let admin = admin(r);
    let workers = workers(r, host);
    let instance = r.text("instance", word);
    let instance = instance.unwrap_or_else(|| format!("{}/{}", host.name, session.listen));
    let protocol_max = protocol_max(r);
    let names = Names::take(r);
    let policy = policy(r, &names);
    let mut clusters = names
        .0
        .into_iter()
        .map(|(side, name)| cluster(r, side, name, protocol_max, workers, host));
    let (a, b) = (clusters.next()?, clusters.next());
    drop(clusters);
    let door = auth::door(r);
    let is_passthrough = door == Door::Clusters;
    let config = Config {
        session,
        admin,
        workers,
        policy,
        dispatch: dispatch(r, (protocol_max, is_passthrough), &instance),
        replay: replay(r),
        log: log(r),
        tls: tls::server(r),
        door,
        instance,
        clusters: Clusters {
            a: a?,
            b: b.map_or(Some(None), |b| b.map(Some))?,
        },
    };
    r.empty_list("tables");
    addresses(r, &config);
    Some(config)
}

fn session(r: &mut Reader) -> session::Config {
    let default = session::Config::default();
    let frame_max = session::Config::FRAME_MAX;
    let frame = r.size(
        "limits.frame",
        frame_max.get().into(),
        FRAME_MIN..=frame_max.get().into(),
    );
    session::Config {
        listen: r.listen("listen", default.listen),
        frame_max: u32::try_from(frame)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(frame_max),
        clients_max: r.count("limits.clients", default.clients_max, 1_000_000),
        in_flight_max: r.count("limits.in_flight", default.in_flight_max, 32_768),
    }
}

fn admin(r: &mut Reader) -> control::Config {
    let listen = r.listen("admin.listen", control::Config::LISTEN);
    if !listen.ip().to_canonical().is_loopback() {
        let text = "an address other than loopback needs a token, which is not supported yet";
        r.fault("admin.listen", text);
    }
    control::Config { listen }
}

fn workers(r: &mut Reader, host: &Host) -> NonZeroUsize {
    let default = host.cores.min(WORKERS_DEFAULT);
    r.count("workers", default, WORKERS_MAX.into())
}

fn protocol_max(r: &mut Reader) -> ProtocolMax {
    let choices = [
        ("auto", Some(ProtocolMax::Auto)),
        ("v3", Some(ProtocolMax::V3)),
        ("v4", Some(ProtocolMax::V4)),
        ("v5", Some(ProtocolMax::V5)),
    ];
    r.choice("protocol_max", ProtocolMax::default(), &choices)
}

fn dispatch(
    r: &mut Reader,
    (protocol_max, passthrough): (ProtocolMax, bool),
    instance: &str,
) -> dispatch::Config {
    let default = dispatch::Deadlines::default();
    let deadlines = dispatch::Deadlines {
        read: r.duration("reads.timeout", default.read, UP_TO_AN_HOUR),
        failover_after: r.duration(
            "reads.failover_after",
            default.failover_after,
            UP_TO_AN_HOUR,
        ),
        write: r.duration("writes.timeout", default.write, UP_TO_AN_HOUR),
        schema: r.duration("limits.schema_timeout", default.schema, UP_TO_AN_HOUR),
    };
    let timeouts = r.is_sound("reads.timeout") && r.is_sound("reads.failover_after");
    if timeouts && deadlines.read <= deadlines.failover_after {
        r.fault("reads.failover_after", "must be shorter than reads.timeout");
    }
    let host_id = r.text("advertise.host_id", |text| {
        Uuid::try_parse(text)
            .ok()
            .ok_or("expected a UUID such as 6ba7b812-9dad-11d1-80b4-00c04fd430c8")
    });
    let advertise = dispatch::Advertise {
        datacenter: r.text("advertise.datacenter", word),
        rack: r.text("advertise.rack", word),
        cluster_name: r.text("advertise.cluster_name", word),
        host_id: host_id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, instance.as_bytes())),
    };
    dispatch::Config {
        deadlines,
        advertise,
        protocol_max,
        passthrough,
    }
}

fn replay(r: &mut Reader) -> replay::Config {
    let path = r
        .text("replay.path", path)
        .unwrap_or_else(|| replay::Store::PATH.into());
    let default = replay::Store::MAX_BYTES;
    let max_bytes = r.size("replay.max_bytes", default.get(), STORE_MIN..=STORE_MAX);
    let max_bytes = NonZeroU64::new(max_bytes).unwrap_or(default);
    let capacity = r.count("replay.capacity", replay::Store::CAPACITY, 10_000_000);
    let queues = [
        ("disk", Some(true)),
        ("memory", Some(false)),
        ("jetstream", None),
    ];
    let store = if r.choice("replay.queue", true, &queues) {
        replay::Store::Disk { path, max_bytes }
    } else {
        replay::Store::Memory { capacity }
    };
    r.choice(
        "replay.worker",
        (),
        &[("embedded", Some(())), ("external", None), ("off", None)],
    );
    replay::Config {
        store,
        worker: worker(r),
    }
}

fn worker(r: &mut Reader) -> replay::Worker {
    let default = replay::Worker::default();
    let worker = replay::Worker {
        batch: r.count("replay.batch", default.batch, 10_000),
        concurrency: r.count("replay.concurrency", default.concurrency, 10_000),
        rate: NonZeroU32::new(r.number("replay.rate", 0, 0..=u32::MAX)),
        timeout: r.duration("replay.timeout", default.timeout, UP_TO_AN_HOUR),
        retry_min: r.duration("replay.retry_min", default.retry_min, UP_TO_AN_HOUR),
        retry_max: r.duration("replay.retry_max", default.retry_max, UP_TO_AN_HOUR),
        attempts_max: NonZeroU32::new(r.number("replay.attempts_max", 0, 0..=u32::MAX)),
        divergence_grace: r.duration(
            "replay.divergence_grace",
            default.divergence_grace,
            Duration::ZERO..=DAY,
        ),
    };
    let waits = r.is_sound("replay.retry_min") && r.is_sound("replay.retry_max");
    if waits && worker.retry_max < worker.retry_min {
        r.fault(
            "replay.retry_max",
            "must not be shorter than replay.retry_min",
        );
    }
    worker
}

fn log(r: &mut Reader) -> log::Config {
    let formats = [
        ("text", Some(log::Format::Text)),
        ("json", Some(log::Format::Json)),
    ];
    let default = log::Config::default();
    log::Config {
        format: r.choice("log.format", default.format, &formats),
        filter: r.text("log.level", level).unwrap_or(default.filter),
    }
}

/// A level, or levels by module. A filter takes any other single word for a module.
fn level(text: &str) -> Result<String, String> {
    let filter = text.contains('=') && log::check(text).is_ok();
    if filter || LEVELS.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = did_you_mean(text, LEVELS);
    Err(format!(
        "expected {}, or levels by module{hint}",
        LEVELS.join(", ")
    ))
}

/// A name as servers and drivers know them: short, without control characters.
pub(super) fn word(text: &str) -> Result<String, &'static str> {
    let fits = !text.trim().is_empty() && text.len() <= WORD_MAX;
    let plain = fits && !text.chars().any(char::is_control);
    plain
        .then(|| text.to_owned())
        .ok_or("expected a name of at most 128 characters")
}

pub(super) fn path(text: &str) -> Result<std::path::PathBuf, &'static str> {
    let fits = !text.is_empty() && !text.contains('\0') && !text.ends_with('/');
    fits.then(|| text.into())
        .ok_or("expected the path of a file")
}
