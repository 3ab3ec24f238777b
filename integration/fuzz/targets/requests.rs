//! Any bytes as each request in each version. What is a message is one to the byte: nothing shorter,
//! nothing longer. Written again, it is what the client sent; with a timestamp, a node's id or other
//! columns, it differs there and nowhere else, as found by walking the bytes anew.
//!
//! The first byte of the input says version and message, the rest is the body.
#![no_main]

use helix_proxy::wire::cursor::Value;
use helix_proxy::wire::request::{
    Batch, Child, Credentials, Execute, Parameters, Prepare, Query, Values, What, register::Events,
    startup::Startup,
};
use helix_proxy::wire::{Cursor, Version};
use helix_proxy_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

const STAMP: i64 = 0x0102_0304_0506_0708;
const NODE_ID: &[u8] = b"what a node calls it";
const COLUMNS_ID: &[u8] = b"what a node calls its columns";

const FLAG_VALUES: u32 = 0x01;
const FLAG_PAGE_SIZE: u32 = 0x04;
const FLAG_PAGING_STATE: u32 = 0x08;
const FLAG_SERIAL: u32 = 0x10;
const FLAG_TIMESTAMP: u32 = 0x20;
const FLAG_NAMES: u32 = 0x40;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first() else {
        return;
    };
    let version = Version::ALL[usize::from(which % 3)];
    match which / 3 % 8 {
        0 => startup(body),
        1 => credentials(body),
        2 => register(body),
        3 => query(body, version),
        4 => prepare(body, version),
        5 => execute(body, version),
        6 => batch(body, version),
        _ => payload(body),
    }
});

/// Whether it is a message; then nothing shorter and nothing longer is.
fn exact(body: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    if !bounded(body.len(), || is(body)) {
        return false;
    }
    for cut in [body.len() / 2, body.len() - 1] {
        assert!(!is(&body[..cut]), "{cut} of {} bytes do", body.len());
    }
    assert!(!is(&[body, &[0]].concat()), "a byte behind the end");
    true
}

fn startup(body: &[u8]) {
    if !exact(body, |it| Startup::parse(Cursor::new(it)).is_ok()) {
        return;
    }
    let read = Startup::parse(Cursor::new(body)).expect("it was");
    let mut walk = Walk::new(body);
    let (mut cql_version, mut compression) = (None, None);
    for _ in 0..walk.short() {
        match (walk.short_bytes(), walk.short_bytes()) {
            (b"CQL_VERSION", value) => cql_version = Some(value),
            (b"COMPRESSION", value) => compression = Some(value),
            _ => {}
        }
    }
    assert_eq!(read.cql_version.map(str::as_bytes), cql_version);
    assert_eq!(read.compression.map(str::as_bytes), compression);
}

fn credentials(body: &[u8]) {
    if !exact(body, |it| Credentials::parse(Cursor::new(it)).is_ok()) {
        return;
    }
    let read = Credentials::parse(Cursor::new(body)).expect("it was");
    let (name, password) = (read.username, read.password);
    assert!(!name.contains('\0') && !password.contains('\0'));
    assert!(body.ends_with(format!("\0{name}\0{password}").as_bytes()));
    let mut out = Vec::new();
    read.put(&mut out);
    assert_eq!(Credentials::parse(Cursor::new(&out)), Ok(read));
}

fn register(body: &[u8]) {
    if !exact(body, |it| Events::parse(Cursor::new(it)).is_ok()) {
        return;
    }
    let read = Events::parse(Cursor::new(body)).expect("it was");
    let mut walk = Walk::new(body);
    let names: Vec<_> = (0..walk.short()).map(|_| walk.short_bytes()).collect();
    assert_eq!(read.schema, names.contains(&&b"SCHEMA_CHANGE"[..]));
    assert_eq!(read.status, names.contains(&&b"STATUS_CHANGE"[..]));
    assert_eq!(read.topology, names.contains(&&b"TOPOLOGY_CHANGE"[..]));
}

/// What stands before a request's body if its header says so.
fn payload(body: &[u8]) {
    let mut cursor = Cursor::new(body);
    if bounded(body.len(), || cursor.skip_bytes_map()).is_ok() {
        let mut walk = Walk::new(body);
        for _ in 0..walk.short() {
            walk.short_bytes();
            walk.value();
        }
        assert_eq!(cursor.rest(), walk.rest());
    }
}

fn query(body: &[u8], version: Version) {
    if !exact(body, |it| Query::parse(Cursor::new(it), version).is_ok()) {
        return;
    }
    let mut query = Query::parse(Cursor::new(body), version).expect("it was");
    let mut walk = Walk::new(body);
    assert_eq!(query.text.as_bytes(), walk.long_bytes());
    look_at(&query.parameters, walk, version);
    let expected = |stamp| [walk.read(), &rewritten(walk, version, stamp)].concat();
    assert_eq!(written(|out| query.put(out, version)), expected(None));
    query.parameters.timestamp = query.parameters.timestamp.or(Some(STAMP));
    let stamped = written(|out| query.put(out, version));
    assert_eq!(stamped, expected(Some(STAMP)));
    lowered(&query, version);
}

/// What a line that speaks a lower version sends of it.
fn lowered(query: &Query<'_>, version: Version) {
    if version == Version::V5 {
        let out = written(|out| query.put(out, Version::V4));
        let read = Query::parse(Cursor::new(&out), Version::V4).expect("our own");
        let expected = Parameters {
            keyspace: None,
            now: None,
            ..query.parameters
        };
        assert_eq!((read.text, read.parameters), (query.text, expected));
    }
}

fn prepare(body: &[u8], version: Version) {
    if exact(body, |it| Prepare::parse(Cursor::new(it), version).is_ok()) {
        let prepare = Prepare::parse(Cursor::new(body), version).expect("it was");
        assert_eq!(written(|out| prepare.put(out, version)), body);
    }
}

fn execute(body: &[u8], version: Version) {
    if !exact(body, |it| Execute::parse(Cursor::new(it), version).is_ok()) {
        return;
    }
    let mut execute = Execute::parse(Cursor::new(body), version).expect("it was");
    let mut walk = Walk::new(body);
    assert_eq!(execute.id, walk.short_bytes());
    let has_columns = version == Version::V5;
    if has_columns {
        assert_eq!(execute.columns, walk.short_bytes());
    }
    look_at(&execute.parameters, walk, version);
    let expected = [walk.read(), &rewritten(walk, version, None)].concat();
    assert_eq!(written(|out| execute.put(out, version)), expected);

    (execute.id, execute.columns) = (NODE_ID, COLUMNS_ID);
    execute.parameters.timestamp = execute.parameters.timestamp.or(Some(STAMP));
    let mut expected = short_bytes(NODE_ID);
    if has_columns {
        expected.extend(short_bytes(COLUMNS_ID));
    }
    expected.extend(rewritten(walk, version, Some(STAMP)));
    assert_eq!(written(|out| execute.put(out, version)), expected);
}

fn batch(body: &[u8], version: Version) {
    if !exact(body, |it| Batch::parse(Cursor::new(it), version).is_ok()) {
        return;
    }
    let mut batch = Batch::parse(Cursor::new(body), version).expect("it was");
    let children: Vec<_> = bounded(body.len(), || batch.children().collect());
    assert_eq!(children.len(), usize::from(batch.count));
    let put = |batch: &Batch<'_>, id: Option<&'static [u8]>| {
        written(|out| {
            batch.put_head(out);
            for child in &children {
                match (child.what, id) {
                    (What::Id(_), Some(id)) => Child {
                        what: What::Id(id),
                        values: child.values,
                    }
                    .put(out),
                    _ => child.put(out),
                }
            }
            batch.put_tail(out, version);
        })
    };
    assert_eq!(put(&batch, None), body);
    batch.timestamp = batch.timestamp.or(Some(STAMP));
    assert_eq!(put(&batch, Some(NODE_ID)), batch_of(body, version));
}

/// A batch with a node's ids and a timestamp.
fn batch_of(body: &[u8], version: Version) -> Vec<u8> {
    let mut walk = Walk::new(body);
    walk.take(1);
    let count = walk.short();
    let mut out = walk.read().to_vec();
    for _ in 0..count {
        let start = walk.at;
        if walk.take(1) == [1] {
            walk.short_bytes();
            out.push(1);
            out.extend(short_bytes(NODE_ID));
        } else {
            walk.long_bytes();
            out.extend(&body[start..walk.at]);
        }
        let start = walk.at;
        walk.values(false);
        out.extend(&body[start..walk.at]);
    }
    out.extend(rewritten(walk, version, Some(STAMP)));
    out
}

/// The values that stand where the parameters say.
fn look_at(parameters: &Parameters<'_>, mut walk: Walk<'_>, version: Version) {
    walk.short();
    let flags = walk.flags(version);
    let Some(values) = parameters.values else {
        return assert_eq!(flags & FLAG_VALUES, 0);
    };
    let named = flags & FLAG_NAMES != 0;
    let count = walk.short();
    assert_eq!((values.count, values.named), (count, named));
    for place in 0..usize::from(count).min(16) {
        let name = if named { walk.short_bytes() } else { &[] };
        let value = walk.value();
        assert_eq!(values.at(place), Some(value));
        first_of(&values, name, place, value);
    }
    assert_eq!(values.at(usize::from(count)), None);
}

/// Of a name given twice the first counts.
fn first_of(values: &Values<'_>, name: &[u8], place: usize, value: Value<'_>) {
    if let Ok(name) = std::str::from_utf8(name)
        && values.named
    {
        let found = values.named(name).expect("it is there");
        let earlier = (0..place).any(|at| values.at(at) == Some(found));
        assert!(found == value || earlier);
    }
}

/// Parameters as they should be written: as they are, with the timestamp if none is there. Two flags
/// that say nothing are dropped: names without values, and a paging state that is null.
fn rewritten(mut walk: Walk<'_>, version: Version, stamp: Option<i64>) -> Vec<u8> {
    let mut out = walk.take(2).to_vec();
    let start = walk.at;
    let mut flags = walk.flags(version);
    let wide = walk.at - start;
    let mut fields = Vec::new();
    let mut copy = |walk: &mut Walk<'_>, flag: u32, step: &dyn Fn(&mut Walk<'_>)| {
        let start = walk.at;
        if flags & flag != 0 {
            step(walk);
        }
        fields.extend(&walk.body[start..walk.at]);
    };
    let named = flags & FLAG_NAMES != 0;
    copy(&mut walk, FLAG_VALUES, &|walk| walk.values(named));
    copy(&mut walk, FLAG_PAGE_SIZE, &|walk| {
        walk.take(4);
    });
    if flags & FLAG_PAGING_STATE != 0 {
        let start = walk.at;
        match walk.value() {
            Value::Set(_) => fields.extend(&walk.body[start..walk.at]),
            Value::Null | Value::Unset => flags &= !FLAG_PAGING_STATE,
        }
    }
    if flags & FLAG_SERIAL != 0 {
        fields.extend(walk.take(2));
    }
    match stamp {
        _ if flags & FLAG_TIMESTAMP != 0 => fields.extend(walk.take(8)),
        Some(stamp) => {
            flags |= FLAG_TIMESTAMP;
            fields.extend(stamp.to_be_bytes());
        }
        None => {}
    }
    fields.extend(walk.rest());
    if flags & FLAG_VALUES == 0 {
        flags &= !FLAG_NAMES;
    }
    out.extend(&flags.to_be_bytes()[4 - wide..]);
    out.extend(fields);
    out
}

fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

fn short_bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

/// Another reader, of bytes that are known to be a message: it panics where they are none.
#[derive(Clone, Copy)]
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    fn read(&self) -> &'a [u8] {
        &self.body[..self.at]
    }

    fn rest(&self) -> &'a [u8] {
        &self.body[self.at..]
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        self.at += length;
        &self.body[self.at - length..self.at]
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two"))
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four"))
    }

    fn flags(&mut self, version: Version) -> u32 {
        match version {
            Version::V3 | Version::V4 => u32::from(self.take(1)[0]),
            Version::V5 => self.int().cast_unsigned(),
        }
    }

    fn short_bytes(&mut self) -> &'a [u8] {
        let length = self.short();
        self.take(length.into())
    }

    fn long_bytes(&mut self) -> &'a [u8] {
        let length = self.int();
        self.take(usize::try_from(length).expect("a length"))
    }

    fn value(&mut self) -> Value<'a> {
        match self.int() {
            -2 => Value::Unset,
            length => match usize::try_from(length) {
                Ok(length) => Value::Set(self.take(length)),
                Err(_negative) => Value::Null,
            },
        }
    }

    fn values(&mut self, named: bool) {
        for _ in 0..self.short() {
            if named {
                self.short_bytes();
            }
            self.value();
        }
    }
}
