//! What drivers ask, as they write it, read back by two decoders.

mod answers;
mod forms;
mod prepared;
mod refusals;

use cassandra_protocol::frame::Serialize as _;
use cassandra_protocol::frame::message_response::ResponseBody;
use cassandra_protocol::frame::message_result::{
    BodyResResultPrepared, ColSpec, ColType, ResResultBody,
};
use cassandra_protocol::frame::{Opcode, Version as TheirVersion};
use cassandra_protocol::types::CBytes;

use super::*;
use crate::statement::{Class, classify};
use crate::wire::Cursor;
use crate::wire::response::result::{Prepared, Rows};

const DIALLED: &str = "10.1.2.3:9042";
const ID: &[u8] = &[0xAB; 16];

fn facts() -> Facts {
    Facts {
        cluster_name: "shop".into(),
        datacenter: "dc1".into(),
        rack: "r1".into(),
        host_id: Uuid::from_u128(7),
        release_version: "5.0.7".into(),
        schema_version: Uuid::from_u128(9),
        cql_version: "3.4.7".into(),
        partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
        native_protocol: 4,
    }
}

fn older() -> Facts {
    Facts {
        release_version: "3.11.19".into(),
        ..facts()
    }
}

fn select(text: &str) -> Select {
    match classify(text).class {
        Class::Topology(Ok(select)) => select,
        other => panic!("{text} is {other:?}"),
    }
}

/// One request: what is bound to it, and how it is asked.
#[derive(Clone, Default)]
struct Ask {
    facts: Option<Facts>,
    count: u16,
    named: bool,
    bytes: Vec<u8>,
    skip_metadata: bool,
    version: Option<Version>,
}

impl Ask {
    fn of(facts: Facts) -> Self {
        Self {
            facts: Some(facts),
            ..Self::default()
        }
    }

    fn bind(mut self, value: &[u8]) -> Self {
        put::bytes(&mut self.bytes, value);
        self.count += 1;
        self
    }

    /// -1 is null, -2 unset.
    fn bind_nothing(mut self, length: i32) -> Self {
        put::i32(&mut self.bytes, length);
        self.count += 1;
        self
    }

    fn bind_named(mut self, name: &str, value: &[u8]) -> Self {
        self.named = true;
        put::string(&mut self.bytes, name);
        self.bind(value)
    }

    fn body(&self, text: &str) -> Result<Vec<u8>, Error> {
        let mut out = vec![0xEE];
        let values = Values {
            count: self.count,
            named: self.named,
            bytes: &self.bytes,
        };
        let result = rows(
            &select(text),
            &self.facts.clone().unwrap_or_else(facts),
            DIALLED.parse().unwrap(),
            (0 < self.count).then_some(values),
            self.skip_metadata,
            self.version.unwrap_or(Version::V4),
            &mut out,
        );
        assert_eq!(out.remove(0), 0xEE, "what stood there stays");
        assert!(result.is_ok() || out.is_empty(), "a refusal writes nothing");
        result.map(|()| out)
    }

    /// The number of rows.
    fn count(&self, text: &str) -> usize {
        decode(&self.body(text).unwrap()).cells.len()
    }

    fn refusal(&self, text: &str) -> String {
        refusal(self.body(text))
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Node { code, message }) => {
            assert_eq!(code, code::INVALID);
            message
        }
        other => panic!("not refused: {other:?}"),
    }
}

type Cells = Vec<Vec<Option<Vec<u8>>>>;

/// A body as both decoders read it.
#[derive(Debug)]
struct Answer {
    columns: Vec<(String, ColType)>,
    cells: Cells,
}

fn decode(body: &[u8]) -> Answer {
    let ours = Rows::parse(Cursor::new(body)).unwrap();
    let ours: Cells = ours
        .iter()
        .map(|row| row.into_iter().map(|it| it.map(<[u8]>::to_vec)).collect())
        .collect();
    let Ok(ResponseBody::Result(result)) =
        ResponseBody::try_from(body, Opcode::Result, TheirVersion::V4)
    else {
        panic!("not a result");
    };
    assert_eq!(result.serialize_to_vec(TheirVersion::V4), body);
    let ResResultBody::Rows(theirs) = result else {
        panic!("not rows");
    };
    let cells: Cells = theirs
        .rows_content
        .into_iter()
        .map(|row| row.into_iter().map(CBytes::into_bytes).collect())
        .collect();
    assert_eq!(ours, cells);
    assert_eq!(theirs.rows_count, i32::try_from(cells.len()).unwrap());
    Answer {
        columns: names(theirs.metadata.col_specs),
        cells,
    }
}

fn names(specs: Vec<ColSpec>) -> Vec<(String, ColType)> {
    let pair = |spec: ColSpec| (spec.name, spec.col_type.id);
    specs.into_iter().map(pair).collect()
}

impl Answer {
    fn cell(&self, name: &str) -> Option<&[u8]> {
        let at = self.columns.iter().position(|(it, _)| it == name).unwrap();
        self.cells[0][at].as_deref()
    }

    fn text(&self, name: &str) -> &str {
        std::str::from_utf8(self.cell(name).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| &**name).collect()
    }
}

fn ask(text: &str) -> Answer {
    decode(&Ask::default().body(text).unwrap())
}

fn prepare(text: &str, version: Version) -> Result<BodyResResultPrepared, Error> {
    let mut out = Vec::new();
    if let Err(error) = prepared(&select(text), ID, version, &mut out) {
        assert!(out.is_empty(), "a refusal writes nothing");
        return Err(error);
    }
    let ours = Prepared::parse(Cursor::new(&out), version).unwrap();
    assert_eq!(ours.id, ID);
    let theirs = match version {
        Version::V3 => TheirVersion::V3,
        Version::V4 => TheirVersion::V4,
        Version::V5 => TheirVersion::V5,
    };
    let result = ResponseBody::try_from(&out, Opcode::Result, theirs).unwrap();
    if let (Version::V4, ResponseBody::Result(result)) = (version, &result) {
        assert_eq!(result.serialize_to_vec(theirs), out);
    }
    Ok(result.into_prepared().unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
