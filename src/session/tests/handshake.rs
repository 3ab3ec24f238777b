//! Every message in every stage, as tables.

use crate::session::handshake::{Handshake, Refusal, Reply, offered};
use crate::wire::{Coding, Compression, Frame, Header, Malformed, Opcode, Version, put};

#[test]
fn options_come_several_times_and_then_startup() {
    let mut handshake = Handshake::new(false);
    for _ in 0..3 {
        let reply = handled(&mut handshake, frame(Version::V4, 0, Opcode::Options, &[]));
        assert!(matches!(reply, Reply::Supported));
        assert!(!handshake.is_ready());
    }
    let body = startup(&[("CQL_VERSION", "3.0.0")]);
    let reply = handled(
        &mut handshake,
        frame(Version::V4, 0, Opcode::Startup, &body),
    );
    assert!(matches!(reply, Reply::Ready(Coding::Plain)));
    assert!(handshake.is_ready());
}

#[test]
fn before_ready_nothing_else_is_taken_and_the_connection_may_still_start() {
    let cases = [
        (Opcode::AuthResponse, "AUTH_RESPONSE"),
        (Opcode::Batch, "BATCH"),
        (Opcode::Execute, "EXECUTE"),
        (Opcode::Prepare, "PREPARE"),
        (Opcode::Query, "QUERY"),
        (Opcode::Register, "REGISTER"),
    ];
    for (opcode, name) in cases {
        let mut handshake = Handshake::new(false);
        let refusal = refused(&mut handshake, frame(Version::V4, 0, opcode, &[]));
        assert_eq!(
            refusal.to_string(),
            format!("Unexpected message {name}, expecting STARTUP or OPTIONS")
        );
        assert!(!refusal.is_fatal());
        assert!(!handshake.is_ready());
    }
}

#[test]
fn after_ready_requests_pass_and_openings_are_refused() {
    let mut handshake = ready(Version::V4);
    for opcode in [
        Opcode::Batch,
        Opcode::Execute,
        Opcode::Prepare,
        Opcode::Query,
    ] {
        let reply = handled(&mut handshake, frame(Version::V4, 0, opcode, b"any"));
        assert!(matches!(reply, Reply::Pass(passed) if passed.body == b"any"));
    }
    let options = handled(&mut handshake, frame(Version::V4, 0, Opcode::Options, &[]));
    assert!(matches!(options, Reply::Supported));
    let cases = [
        (Opcode::Startup, Refusal::Started),
        (Opcode::AuthResponse, Refusal::Unasked),
    ];
    for (opcode, expected) in cases {
        let refusal = refused(&mut handshake, frame(Version::V4, 0, opcode, &[]));
        assert!(!refusal.is_fatal());
        assert_eq!(refusal, expected);
    }
}

#[test]
fn startup_is_refused_for_what_it_asks_or_leaves_out() {
    let compression = |told| [("CQL_VERSION", "3.0.0"), ("COMPRESSION", told)];
    let cases = [
        (startup(&[]), Refusal::CqlVersionMissing),
        (startup(&[("X", "y")]), Refusal::CqlVersionMissing),
        (cql("2.9.9"), Refusal::CqlVersion("2.9.9".to_owned())),
        (cql(""), Refusal::CqlVersion(String::new())),
        (cql("x.y"), Refusal::CqlVersion("x.y".to_owned())),
        (startup(&compression("zstd")), unknown("zstd")),
        (startup(&compression("LZ4 ")), unknown("lz4 ")),
        (startup(&compression("")), unknown("")),
        (vec![0, 1], malformed(Malformed::Truncated)),
        (vec![0xFF, 0xFF], malformed(Malformed::Truncated)),
        (
            [cql("3.0.0"), vec![1]].concat(),
            malformed(Malformed::Trailing(1)),
        ),
    ];
    for (body, expected) in cases {
        let mut handshake = Handshake::new(false);
        let refusal = refused(
            &mut handshake,
            frame(Version::V4, 0, Opcode::Startup, &body),
        );
        assert_eq!(refusal, expected);
        assert!(!handshake.is_ready());
    }
}

#[test]
fn startup_agrees_on_a_compression_whatever_its_case() {
    let cases = [
        ("lz4", Compression::Lz4),
        ("LZ4", Compression::Lz4),
        ("snappy", Compression::Snappy),
        ("Snappy", Compression::Snappy),
    ];
    for (name, expected) in cases {
        let mut handshake = Handshake::new(false);
        let body = startup(&[("CQL_VERSION", "3.0.0"), ("COMPRESSION", name)]);
        let reply = handled(
            &mut handshake,
            frame(Version::V4, 0, Opcode::Startup, &body),
        );
        assert!(matches!(reply, Reply::Ready(Coding::Bodies(it)) if it == expected));
    }
}

#[test]
fn options_that_nobody_knows_and_repeated_ones_are_passed_over() {
    let options = [
        ("CQL_VERSION", "2.0.0"),
        ("", ""),
        ("DRIVER_NAME", "x"),
        ("CQL_VERSION", "4.0.0"),
    ];
    let mut handshake = Handshake::new(false);
    let body = startup(&options);
    let reply = handled(
        &mut handshake,
        frame(Version::V3, 0, Opcode::Startup, &body),
    );
    assert!(matches!(reply, Reply::Ready(Coding::Plain)));
}

#[test]
fn a_connection_keeps_the_version_of_its_startup() {
    let mut handshake = ready(Version::V3);
    let refusal = refused(&mut handshake, frame(Version::V4, 0, Opcode::Query, &[]));
    assert!(refusal.is_fatal());
    assert_eq!(
        refusal.to_string(),
        "Invalid message version. Got 4/v4 but previous messages on this connection had version 3/v3"
    );
}

#[test]
fn a_version_above_the_offer_is_told_what_is_offered() {
    let options = frame(Version::V4, 0, Opcode::Options, &[]);
    let Reply::Refuse(refusal) = Handshake::new(false).handle_frame(options, Version::V3) else {
        panic!("version 4 was taken");
    };
    assert!(refusal.is_fatal());
    assert_eq!(refusal.stream(9), 0);
    assert_eq!(
        refusal.to_string(),
        "Invalid or unsupported protocol version (4); \
         the lowest supported version is 3 and the greatest is 3"
    );
    assert_eq!(offered(Version::V3), ["3/v3"]);
    assert_eq!(offered(Version::V4), ["3/v3", "4/v4"]);
}

#[test]
fn flags_are_refused_unless_servers_pass_over_them() {
    let (query, options) = (Opcode::Query, Opcode::Options);
    let refusals = [
        (Version::V4, query, 0x01, Refusal::Compressed),
        (Version::V4, query, 0x20, Refusal::Flags(0x20)),
        (Version::V4, options, 0xFF, Refusal::Flags(0xE0)),
        (Version::V3, query, 0x04, Refusal::Payload),
    ];
    for (version, opcode, flags, expected) in refusals {
        let mut handshake = ready(version);
        let refusal = refused(&mut handshake, frame(version, flags, opcode, &[]));
        assert!(refusal.is_fatal());
        assert_eq!(refusal, expected);
    }
    for (flags, passed) in [
        (0x02, 0x02),
        (0x04, 0x04),
        (0x08, 0),
        (0x10, 0),
        (0x1E, 0x06),
    ] {
        let reply = handled(
            &mut ready(Version::V4),
            frame(Version::V4, flags, query, &[]),
        );
        assert!(matches!(reply, Reply::Pass(frame) if frame.header.flags == passed));
    }
    let flagged = frame(Version::V4, 0x01, options, &[]);
    let reply = handled(&mut Handshake::new(false), flagged);
    assert!(matches!(reply, Reply::Supported));
}

#[test]
fn register_names_known_events_only() {
    let mut handshake = ready(Version::V4);
    let mut body = vec![0, 1];
    put::string(&mut body, "SCHEMA_CHANGE");
    let reply = handled(
        &mut handshake,
        frame(Version::V4, 0, Opcode::Register, &body),
    );
    assert!(matches!(reply, Reply::Register(events) if events.schema && !events.status));

    let mut body = vec![0, 1];
    put::string(&mut body, "WEATHER_CHANGE");
    let refusal = refused(
        &mut handshake,
        frame(Version::V4, 0, Opcode::Register, &body),
    );
    assert!(matches!(refusal, Refusal::Malformed("REGISTER", _)));
}

fn ready(version: Version) -> Handshake {
    let mut handshake = Handshake::new(false);
    let body = cql("3.4.5");
    let reply = handled(&mut handshake, frame(version, 0, Opcode::Startup, &body));
    assert!(matches!(reply, Reply::Ready(Coding::Plain)));
    handshake
}

/// The reply where versions up to 4 are offered.
fn handled<'a>(handshake: &mut Handshake, frame: Frame<'a>) -> Reply<'a> {
    handshake.handle_frame(frame, Version::V4)
}

fn refused(handshake: &mut Handshake, frame: Frame<'_>) -> Refusal {
    match handled(handshake, frame) {
        Reply::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::Compression(name.to_owned())
}

fn malformed(fault: Malformed) -> Refusal {
    Refusal::Malformed("STARTUP", fault)
}

fn cql(version: &str) -> Vec<u8> {
    startup(&[("CQL_VERSION", version)])
}

fn startup(options: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    put::u16(&mut body, u16::try_from(options.len()).unwrap());
    for (key, value) in options {
        put::string(&mut body, key);
        put::string(&mut body, value);
    }
    body
}

fn frame(version: Version, flags: u8, opcode: Opcode, body: &[u8]) -> Frame<'_> {
    let header = Header {
        version,
        flags,
        stream: 1,
        opcode,
        length: body.len(),
    };
    Frame { header, body }
}
