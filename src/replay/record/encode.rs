//! Writing a record: borrowed fields go straight into the caller's vector.

use super::{Batch, Priority, Reason, Repeat, STATEMENTS_MAX, VERSION, child, flag};

/// A record about to be written. Borrows everything; [`Draft::encode`] allocates nothing of its own.
/// The default has no statement and may not be repeated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Draft<'a> {
    /// UUID version 7.
    pub id: [u8; 16],
    /// Which proxy made it.
    pub origin: &'a str,
    /// The statements in order; one unless it is a batch, at most [`STATEMENTS_MAX`].
    pub statements: &'a [Child<'a>],
    /// How they belong together.
    pub batch: Batch,
    /// The consistency as on the wire.
    pub consistency: u16,
    /// The serial consistency as on the wire.
    pub serial: Option<u16>,
    /// Microseconds; absent when the text says USING TIMESTAMP.
    pub timestamp: Option<i64>,
    /// The second from which a TTL counts.
    pub ttl_base: i64,
    /// Which records go first.
    pub priority: Priority,
    /// Equal for writes of equal partition keys: the token, or a hash.
    pub partition: u64,
    /// Microseconds since 1970.
    pub enqueued_at: i64,
    /// Why it is made.
    pub reason: Reason,
    /// Whether it may be applied more than once.
    pub repeat: Repeat,
    /// Whether it surely touches one partition only (S14).
    pub single_partition: bool,
    /// Keyspace and name of the table, where it is one.
    pub table: Option<(&'a str, &'a str)>,
    /// The table's id at the time.
    pub table_id: Option<[u8; 16]>,
}

/// One statement of a [`Draft`].
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// CQL.
    pub text: &'a str,
    /// The keyspace that unqualified names mean.
    pub keyspace: Option<&'a str>,
    /// A fingerprint of the bound types; 0 where they are not known.
    pub bind_types: u64,
    /// `count` values exactly as on the wire, each after its `string` name if `named`.
    pub values: &'a [u8],
    /// How many.
    pub count: u16,
    /// Whether each value stands after its name.
    pub named: bool,
}

impl Draft<'_> {
    /// Appends the record's bytes. Names longer than 64 KiB and statements past [`STATEMENTS_MAX`] or
    /// 4 GiB cannot come from a CQL frame; they are a mistake of the caller and written cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.size());
        out.push(VERSION);
        out.extend([0; 4]);
        self.fixed(out);
        self.names(out);
        self.children(out);
        if let Some((head, rest)) = out.split_at_mut_checked(start + 5) {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&[VERSION]);
            crc.update(rest);
            if let Some(field) = head.last_chunk_mut::<4>() {
                *field = crc.finalize().to_be_bytes();
            }
        }
    }

    fn size(&self) -> usize {
        let children: usize = self
            .statements
            .iter()
            .map(|child| {
                let keyspace = child.keyspace.map_or(0, |name| 2 + name.len());
                child.text.len() + keyspace + child.values.len() + 19
            })
            .sum();
        152 + self.origin.len() + children
    }

    fn flags(&self) -> u16 {
        let bit = |flag: u16, set: bool| if set { flag } else { 0 };
        bit(flag::SERIAL, self.serial.is_some())
            | bit(flag::TIMESTAMP, self.timestamp.is_some())
            | bit(flag::TABLE_ID, self.table_id.is_some())
            | bit(flag::TABLE, self.table.is_some())
            | bit(flag::LOW, self.priority == Priority::Low)
            | bit(flag::SINGLE_PARTITION, self.single_partition)
    }

    fn fixed(&self, out: &mut Vec<u8>) {
        out.extend(self.enqueued_at.to_be_bytes());
        out.extend(self.id);
        out.extend(self.flags().to_be_bytes());
        out.extend([self.reason as u8, self.repeat as u8, self.batch as u8]);
        out.extend(self.consistency.to_be_bytes());
        out.extend(self.partition.to_be_bytes());
        out.extend(self.ttl_base.to_be_bytes());
        out.extend(self.serial.iter().flat_map(|serial| serial.to_be_bytes()));
        out.extend(
            self.timestamp
                .iter()
                .flat_map(|timestamp| timestamp.to_be_bytes()),
        );
        out.extend(self.table_id.iter().flatten());
    }

    fn names(&self, out: &mut Vec<u8>) {
        string(out, self.origin);
        if let Some((keyspace, table)) = self.table {
            string(out, keyspace);
            string(out, table);
        }
    }

    fn children(&self, out: &mut Vec<u8>) {
        debug_assert!(
            self.statements.len() <= STATEMENTS_MAX,
            "more than a batch can hold"
        );
        let count = u16::try_from(self.statements.len()).unwrap_or(u16::MAX);
        out.extend(count.to_be_bytes());
        for child in self.statements.iter().take(count.into()) {
            long(out, child.text.as_bytes());
            out.push(child.flags());
            if let Some(keyspace) = child.keyspace {
                string(out, keyspace);
            }
            out.extend(child.bind_types.to_be_bytes());
            out.extend(child.count.to_be_bytes());
            long(out, child.values);
        }
    }
}

impl Child<'_> {
    fn flags(&self) -> u8 {
        let named = if self.named { child::NAMED } else { 0 };
        let keyspace = self.keyspace.map_or(0, |_| child::KEYSPACE);
        named | keyspace
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(
        text.len() <= usize::from(u16::MAX),
        "a name of more than 64 KiB"
    );
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(len.to_be_bytes());
    out.extend(&text.as_bytes()[..len.into()]);
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(0);
    debug_assert!(
        usize::try_from(len) == Ok(bytes.len()),
        "a part of more than 4 GiB"
    );
    out.extend(len.to_be_bytes());
    out.extend(&bytes[..usize::try_from(len).unwrap_or(0)]);
}
