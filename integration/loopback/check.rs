//! What `helix-proxy check` says of a file, and its exit code.

use std::path::Path;
use std::process::{Command, Output};

/// Each line but the good ones has a fault of its own.
const FAULTY: &str = "\
listen: nowhere
workers: many
clusters:
  a: { contact_points: [\"127.0.0.1:9042\"] }
  b: { contact_points: [] }
writes:
  ack: both
  strategy: adaptive
  jornal: off
replay:
  max_bytes: 8GiB
  divergence_grace: soon
";

/// Lines and keys of the faults, in their order.
const FAULTS: [(&str, &str); 7] = [
    ("1:9", "listen"),
    ("2:10", "workers"),
    ("5:24", "clusters.b.contact_points"),
    ("7:8", "writes.ack"),
    ("8:13", "writes.strategy"),
    ("9:3", "writes.jornal"),
    ("12:21", "replay.divergence_grace"),
];

#[test]
fn check_tells_every_fault_of_a_file_with_its_line_and_key_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faulty.yaml");
    std::fs::write(&path, FAULTY).unwrap();
    let Output { status, stderr, .. } = check(&path);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");

    let expected = FAULTS.map(|(place, key)| format!("{}:{place}: {key}: ", path.display()));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(&expected) {
        let why = line.strip_prefix(expected.as_str());
        assert!(
            why.is_some_and(|why| !why.is_empty()),
            "{line} is not {expected}.."
        );
    }
}

#[test]
fn check_takes_the_files_that_come_along_and_shows_what_they_mean() {
    for name in ["helix-proxy.yaml", "minimal.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("config")
            .join(name);
        let Output {
            status,
            stdout,
            stderr,
        } = check(&path);
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{name}");
        let shown = String::from_utf8(stdout).unwrap();
        assert!(
            shown
                .lines()
                .any(|line| line == "listen: \"127.0.0.1:9042\""),
            "{shown}"
        );
    }
}

#[test]
fn check_of_a_file_that_is_not_there_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = check(&folder.path().join("none.yaml"));
    assert_eq!(status.code(), Some(2));
    assert!(String::from_utf8(stderr).unwrap().contains("none.yaml"));
}

fn check(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_helix-proxy"))
        .args(["check", "--config"])
        .arg(path)
        .output()
        .unwrap()
}
