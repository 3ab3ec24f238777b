//! Samples that load, faults that are all told, and options that mean the same as a file.

use std::collections::BTreeSet;
use std::time::Duration;

use super::keys::{KEYS, State};
use super::*;
use crate::policy::{Preferred, ReadStrategy, WriteStrategy};

const FULL: &str = include_str!("../../config/helix-proxy.yaml");
const COMPOSE: &str = include_str!("../../docker/helix-proxy.yaml");
const MINIMAL: &str = include_str!("../../config/minimal.yaml");
const CLUSTERS: &str = "clusters: { a: { contact_points: [a] }, b: { contact_points: [b] } }\n";

fn host() -> Host {
    Host {
        name: "here".to_owned(),
        cores: NonZeroUsize::new(4).expect("not zero"),
        variable: |name| (name == "PASSWORD").then(|| "hunter2".to_owned()),
    }
}

/// A wrong line behind a good file, and the fault that it is.
type Case = (&'static str, &'static str);

pub(super) fn read(text: &str) -> Result<Config, Faults> {
    load_on(&host(), text, "x.yaml")
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of this text as lines.
fn faults(text: &str) -> Vec<String> {
    let found = read(text).expect_err("a fault");
    found.iter().map(ToString::to_string).collect()
}

/// The only fault of the smallest good file with these lines added.
fn fault(lines: &str) -> String {
    let found = faults(&format!("{CLUSTERS}{lines}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.concat()
}

/// The sample with every `#key: value` line switched on.
fn all_keys() -> String {
    let line = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
            line.replacen('#', "", 1)
        }
        _ => line.to_owned(),
    };
    FULL.lines().map(|text| line(text) + "\n").collect()
}

/// Dotted keys of the tree down to those of the table, as the table writes them.
fn paths(node: &Node, path: &str, into: &mut BTreeSet<String>) {
    let Value::Map(entries) = &node.value else {
        return;
    };
    for entry in entries {
        let word = if path == "clusters" { "*" } else { &entry.key };
        let path = if path.is_empty() {
            word.to_owned()
        } else {
            format!("{path}.{word}")
        };
        if KEYS.iter().any(|(key, _)| *key == path) {
            into.insert(path);
        } else {
            paths(&entry.node, &path, into);
        }
    }
}

#[test]
fn the_samples_load() {
    for text in [FULL, MINIMAL, COMPOSE] {
        good(text);
    }
}

#[test]
fn the_documented_values_are_the_defaults() {
    assert_eq!(good(FULL), good(MINIMAL));
}

#[test]
fn the_full_sample_has_every_key_and_no_other() {
    let mut found = BTreeSet::new();
    paths(&raw::parse(&all_keys()).expect("YAML"), "", &mut found);
    let known: BTreeSet<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn every_key_is_read_or_refused() {
    let mut reader = Reader::new(raw::parse(&all_keys()).expect("YAML"));
    build::assemble(&mut reader, &host()).expect("a configuration");
    let asked: BTreeSet<_> = reader
        .asked
        .iter()
        .map(|key| key.replace(".a.", ".*.").replace(".b.", ".*."))
        .collect();
    let built = KEYS.iter().filter(|(_, state)| *state == State::Built);
    assert_eq!(asked, built.map(|(key, _)| (*key).to_owned()).collect());

    let refused: BTreeSet<_> = reader
        .into_faults()
        .into_iter()
        // The files and variables of the sample are not there.
        .filter(|fault| {
            !["tls", "auth", "auth.users", "password_env"]
                .iter()
                .any(|key| fault.key.ends_with(key))
        })
        .map(|fault| {
            assert_eq!(fault.text, "not supported yet", "{fault}");
            fault.key.replace(".a.", ".*.").replace(".b.", ".*.")
        })
        .collect();
    let later = KEYS.iter().filter(|(_, state)| *state == State::Later);
    assert_eq!(refused, later.map(|(key, _)| (*key).to_owned()).collect());
}

#[test]
fn a_summary_loads_to_the_same() {
    let other = format!(
        "{CLUSTERS}listen: '[::1]:1'\nadmin: {{ listen: 127.0.0.1:0 }}\nworkers: 3\ninstance: \"i: #1\"\n\
         protocol_max: v3\nwrites: {{ strategy: sync, order: [B, A], ack: all, journal: off, \
         timeout: 2s, on_queue_failure: ack_anyway }}\nreads: {{ preferred: B, cooldown: 0s, \
         timeout: 3s, failover_after: 20ms, prefer_fresh: false }}\nfailover: {{ policy: active }}\n\
         conditional: {{ cluster: B }}\nreplay: {{ queue: memory, capacity: 20_000, batch: 7, \
         concurrency: 1, rate: 9, timeout: 1m, retry_min: 1ms, retry_max: 2ms, attempts_max: 5, \
         divergence_grace: 0s }}\nlimits: {{ frame: 1MiB, clients: 1, in_flight: 1, \
         schema_timeout: 1h }}\nadvertise: {{ datacenter: dc, rack: \"1\", cluster_name: x, \
         host_id: 6ba7b812-9dad-11d1-80b4-00c04fd430c8 }}\nlog: {{ format: json, level: 'warn,helix_proxy::replay=debug' }}\n"
    );
    for text in [FULL, MINIMAL, &other] {
        let config = good(text);
        assert_eq!(good(&config.summary()), config, "{}", config.summary());
    }
    let config = good(&other);
    assert_ne!(config.dispatch, good(CLUSTERS).dispatch);
    assert_eq!(
        config.policy.writes.strategy,
        WriteStrategy::Sync { first: Side::B }
    );
    let preferred = Preferred::Side(Side::B);
    let reads = ReadStrategy::Sticky {
        preferred,
        cooldown: Duration::ZERO,
    };
    assert_eq!(config.policy.reads.strategy, reads);
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let text = "\
listen: 127.0.0.1
workers: 0
clusters:
  a:
    name: north-1
    contact_points: []
  b:
    contact_points: [10.0.0.300:9042, ok, 'x:0']
    tls: { ca: x }
writes:
  strategy: adaptive
  journall: always
  timeout: 1500
reads: { cooldown: 5 minuets, preferred: [A] }
failover:
  threshold: many
replay:
  max_bytes: 8GB
replay:
  queue: disk
limits: 5
";
    assert_eq!(
        faults(text),
        [
            "x.yaml:1:9: listen: the port is missing, such as in 127.0.0.1:9042; found \"127.0.0.1\"",
            "x.yaml:2:10: workers: must be from 1 to 256, found 0",
            "x.yaml:5:11: clusters.a.name: expected a letter or _, then at most 31 letters, digits \
         and _; found \"north-1\"",
            "x.yaml:6:21: clusters.a.contact_points: at least one node is needed, such as \
         [\"127.0.0.11:9042\"]",
            "x.yaml:8:22: clusters.b.contact_points[0]: expected HOST or HOST:PORT; found \
         \"10.0.0.300:9042\"",
            "x.yaml:8:43: clusters.b.contact_points[2]: the port must be from 1 to 65535; found \
         \"x:0\"",
            "x.yaml:9:5: clusters.b.tls: x: No such file or directory (os error 2)",
            "x.yaml:11:13: writes.strategy: \"adaptive\" is not supported yet",
            "x.yaml:12:3: writes.journall: unknown key; did you mean \"journal\"?",
            "x.yaml:13:12: writes.timeout: a duration needs a unit, such as 1500ms, 5s or 5m; found \
         \"1500\"",
            "x.yaml:14:20: reads.cooldown: expected a duration such as 1500ms, 5s or 5m; found \"5 \
         minuets\"",
            "x.yaml:14:42: reads.preferred: expected text, found a list",
            "x.yaml:16:14: failover.threshold: expected a whole number, found \"many\"",
            "x.yaml:18:14: replay.max_bytes: expected a size such as 8GiB, 256MiB or 512B; found \
         \"8GB\"",
            "x.yaml:19:1: replay: the key stands here twice (first in line 17)",
            "x.yaml:21:1: limits: expected a mapping, found a number",
        ]
    );
}

const WRONG: &[Case] = &[
    (
        "lisen: x",
        "x.yaml:2:1: lisen: unknown key; did you mean \"listen\"?",
    ),
    (
        "writes.journal: off",
        "x.yaml:2:1: writes.journal: unknown key",
    ),
    (
        "listen:",
        "x.yaml:2:1: listen: the value is missing; leave the key out for its default",
    ),
    (
        "listen: 127.0.0.1:9180",
        "x.yaml:2:9: listen: is the same address as admin.listen, 127.0.0.1:9180",
    ),
    (
        "admin: { listen: 0.0.0.0:9180 }",
        "x.yaml:2:18: admin.listen: an address other than loopback needs a token, which is not \
             supported yet",
    ),
    (
        "writes: { strategy: adaptive }",
        "x.yaml:2:21: writes.strategy: \"adaptive\" is not supported yet",
    ),
    (
        "writes: { ack: al }",
        "x.yaml:2:16: writes.ack: expected any or all, found \"al\"; did you mean \"all\"?",
    ),
    (
        "writes: { order: [A] }",
        "x.yaml:2:18: writes.order: must name each configured cluster once, such as [A, B]",
    ),
    (
        "writes: { order: [A, A] }",
        "x.yaml:2:22: writes.order[1]: the cluster is named twice",
    ),
    (
        "conditional: { cluster: C }",
        "x.yaml:2:25: conditional.cluster: names no configured cluster (A, B); found \"C\"",
    ),
    (
        "conditional: { copy: writetime }",
        "x.yaml:2:22: conditional.copy: \"writetime\" is not supported yet",
    ),
    (
        "reads: { prefer_fresh: yes }",
        "x.yaml:2:24: reads.prefer_fresh: expected true or false, found \"yes\"",
    ),
    (
        "auth: { mode: service }",
        "x.yaml:2:1: auth: mode: service needs users, the file of names and hashes",
    ),
    (
        "auth: { mode: service, users: absent }",
        "x.yaml:2:31: auth.users: absent: No such file or directory (os error 2)",
    ),
    (
        "auth: { mode: passthrough, users: absent }",
        "x.yaml:2:35: auth.users: belongs to mode: service; with passthrough, the default, the clusters \
         know their users",
    ),
    (
        "tls: { cert: x.pem }",
        "x.yaml:2:1: tls: cert and key belong together",
    ),
    (
        "tls: { client_ca: x.pem }",
        "x.yaml:2:1: tls: cert and key are needed",
    ),
    (
        "tls: { cert: x.pem, key: y.pem }",
        "x.yaml:2:1: tls: x.pem: No such file or directory (os error 2)",
    ),
    (
        "reads: { timeout: 1s }",
        "x.yaml:2:1: reads.failover_after: must be shorter than reads.timeout",
    ),
    (
        "reads: { timeout: 2h }",
        "x.yaml:2:19: reads.timeout: must be from 1ms to 1h, found 2h",
    ),
    (
        "replay: { retry_max: 1ms }",
        "x.yaml:2:22: replay.retry_max: must not be shorter than replay.retry_min",
    ),
    (
        "limits: { frame: 257MiB }",
        "x.yaml:2:18: limits.frame: must be from 1KiB to 256MiB, found 257MiB",
    ),
    (
        "advertise: { rack: 1 }",
        "x.yaml:2:20: advertise.rack: expected text, found a number; put it in quotes",
    ),
    (
        "tables: [{ match: a.*, only: A }]",
        "x.yaml:2:9: tables: not supported yet",
    ),
    (
        "replay: { jetstream: { url: x } }",
        "x.yaml:2:11: replay.jetstream: not supported yet",
    ),
];

#[test]
fn each_wrong_value_is_told_by_its_own_sentence() {
    for (lines, told) in WRONG {
        assert_eq!(fault(lines), *told);
    }
}

#[test]
fn clusters_must_be_two() {
    let two = |a: &str, b: &str| format!("clusters:\n  a: {{ {a} }}\n  b: {{ {b} }}\n");
    let (a, b) = ("contact_points: [a]", "contact_points: [b]");
    assert_eq!(
        faults(&two(&format!("{a}, name: x"), &format!("{b}, name: x"))),
        ["x.yaml:3:35: clusters.b.name: both clusters are called \"x\""]
    );
    assert_eq!(
        faults(&two(
            "contact_points: [q, 127.0.0.1:1]",
            "contact_points: ['localhost:1']"
        )),
        [
            "x.yaml:3:25: clusters.b.contact_points[0]: localhost:1 is a node of the other cluster \
          as well"
        ]
    );
    assert_eq!(
        faults(&format!(
            "listen: 0.0.0.0:9042\n{}",
            two("contact_points: [localhost]", b)
        )),
        [
            "x.yaml:3:25: clusters.a.contact_points[0]: localhost:9042 is the proxy's own listen \
          address"
        ]
    );
    let empty = faults("");
    assert_eq!(empty.len(), 1);
    assert!(
        empty[0].contains("clusters.a.contact_points: at least one node"),
        "{empty:?}"
    );
    assert_eq!(
        faults("clusters: { a: { contact_points: [a] }, b: }").len(),
        1
    );
    let renamed = two(&format!("{a}, name: east"), &format!("{b}, name: west"));
    let config = good(&format!("{renamed}conditional: {{ cluster: west }}"));
    assert_eq!(config.policy.conditional.home, Side::B);
}

#[test]
fn one_cluster_is_enough() {
    let config = good("clusters: { a: { contact_points: [a] } }");
    assert!(config.clusters.b.is_none());
    assert_eq!(config.clusters.iter().count(), 1);
    assert_eq!(
        (config.workers.get(), config.instance.as_str()),
        (2, "here/127.0.0.1:9042")
    );
    let told = faults("clusters: { a: { contact_points: [a] } }\nreads: { preferred: B }");
    assert_eq!(
        told,
        ["x.yaml:2:21: reads.preferred: names no configured cluster (A); found \"B\""]
    );
}

#[test]
fn all_workers_together_keep_to_what_a_node_may_have() {
    for (workers, seats) in [(1, 16), (2, 8), (3, 5), (16, 1), (17, 0), (256, 0)] {
        let config = good(&format!("{CLUSTERS}workers: {workers}"));
        let told = config.clusters.iter().map(|it| it.1.seats_max);
        assert_eq!(Vec::from_iter(told), [seats; 2], "{workers}");
    }
    let config = good(
        "clusters: { a: { contact_points: [a], max_connections_per_host: 96 }, b: { contact_points: [b] } }\n\
         workers: 4",
    );
    let told = config.clusters.iter().map(|it| it.1.seats_max);
    assert_eq!(Vec::from_iter(told), [24, 4]);
    let told = faults("clusters: { a: { contact_points: [a], max_connections_per_host: 0 } }");
    assert_eq!(
        told,
        ["x.yaml:1:65: clusters.a.max_connections_per_host: must be from 1 to 1024, found 0"]
    );
}

#[test]
fn a_secret_is_never_told() {
    for text in [
        "clusters: { a: { contact_points: ['me:hunter2@a'], auth: { password: hunter2 } } }",
        "auth: hunter2\npassword: hunter2\nadmin: { token_env: hunter2, tokens: hunter2 }",
        "replay: { jetstream: { url: 'nats://me:hunter2@b' } }\npassword: [hunter2",
    ] {
        let found = read(text).expect_err("a fault");
        assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
    }
}

#[test]
fn options_mean_the_same_as_a_file() {
    let flags = |a: &str, b: Option<&str>| Flags {
        cluster_a: a.to_owned(),
        cluster_b: b.map(str::to_owned),
        ..Flags::default()
    };
    let mut with_admin = flags("a:1", Some("b"));
    with_admin.admin = Some("127.0.0.1:99".to_owned());
    let file = "clusters: { a: { contact_points: ['a:1'] }, b: { contact_points: [b] } }\n\
                admin: { listen: 127.0.0.1:99 }";
    assert_eq!(from_flags(&with_admin).ok(), load(file, "x.yaml").ok());
    assert!(from_flags(&flags("a", None)).is_ok());

    let mut wrong = flags("a:b", Some("a:0"));
    wrong.listen = Some("x".to_owned());
    let told = from_flags(&wrong).expect_err("faults").to_string();
    assert_eq!(told.lines().count(), 3, "{told}");
    for option in ["--cluster-a: ", "--cluster-b: ", "--listen: "] {
        assert!(told.lines().any(|line| line.starts_with(option)), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.yaml");
    let told = |path: &Path| load_file(path).expect_err("a fault").to_string();
    assert!(
        told(&path).contains("x.yaml: cannot be read: No such file"),
        "{}",
        told(&path)
    );
    assert!(told(folder.path()).contains("cannot be read: Is a directory"));
    std::fs::write(&path, b"a: 1\nb: \xff\n").expect("a file");
    assert!(
        told(&path).ends_with("cannot be read: not UTF-8 text in line 2"),
        "{}",
        told(&path)
    );
    std::fs::write(&path, MINIMAL).expect("a file");
    assert_eq!(
        load_file(&path).expect("a configuration"),
        load(MINIMAL, "").expect("the same")
    );
}
