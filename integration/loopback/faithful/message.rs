//! A plain model of the requests that clients send, and their bytes by the specification. It shares
//! nothing with `wire`: what the proxy sends is compared with what is written here.

/// A bound value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Set(Vec<u8>),
    Unset,
}

/// Values, each with its name where they are named.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) named: bool,
    pub(crate) each: Vec<(String, Value)>,
}

/// Of QUERY and EXECUTE.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) consistency: u16,
    pub(crate) skip_metadata: bool,
    pub(crate) values: Option<Values>,
    pub(crate) page_size: Option<i32>,
    pub(crate) paging_state: Option<Vec<u8>>,
    pub(crate) last: Last,
}

/// What stands last, also in BATCH.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) serial: Option<u16>,
    pub(crate) timestamp: Option<i64>,
    /// Of version 5, as is the next.
    pub(crate) keyspace: Option<&'static str>,
    pub(crate) now: Option<i32>,
}

/// One statement of a BATCH.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) what: What,
    pub(crate) values: Values,
}

/// A text, or what it was prepared as.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Id(Vec<u8>),
    Text(String),
}

/// A body, without its header.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Batch {
        kind: u8,
        children: Vec<Child>,
        consistency: u16,
        last: Last,
    },
    Execute {
        id: Vec<u8>,
        columns_id: Vec<u8>,
        parameters: Parameters,
    },
    Prepare {
        text: String,
        keyspace: Option<&'static str>,
    },
    Query {
        text: String,
        parameters: Parameters,
    },
}

impl Message {
    pub(crate) const fn opcode(&self) -> u8 {
        match self {
            Self::Batch { .. } => 0x0D,
            Self::Execute { .. } => 0x0A,
            Self::Prepare { .. } => 0x09,
            Self::Query { .. } => 0x07,
        }
    }

    /// The parameters of a QUERY or EXECUTE.
    pub(crate) fn parameters(&mut self) -> Option<&mut Parameters> {
        match self {
            Self::Execute { parameters, .. } | Self::Query { parameters, .. } => Some(parameters),
            Self::Batch { .. } | Self::Prepare { .. } => None,
        }
    }

    /// The timestamp's place in the message, which a PREPARE has none of.
    pub(crate) fn timestamp(&mut self) -> Option<&mut Option<i64>> {
        match self {
            Self::Batch { last, .. } => Some(&mut last.timestamp),
            Self::Execute { parameters, .. } | Self::Query { parameters, .. } => {
                Some(&mut parameters.last.timestamp)
            }
            Self::Prepare { .. } => None,
        }
    }

    /// The keyspace that it says, which an EXECUTE has none of.
    pub(crate) fn keyspace(&mut self) -> Option<&mut Option<&'static str>> {
        match self {
            Self::Batch { last, .. } => Some(&mut last.keyspace),
            Self::Prepare { keyspace, .. } => Some(keyspace),
            Self::Query { parameters, .. } => Some(&mut parameters.last.keyspace),
            Self::Execute { .. } => None,
        }
    }

    /// The body in this version, and where in it the timestamp stands, if there is one.
    pub(crate) fn bytes(&self, version: u8) -> (Vec<u8>, Option<usize>) {
        let mut body = Body {
            version,
            bytes: Vec::new(),
            timestamp: None,
        };
        match self {
            Self::Batch {
                kind,
                children,
                consistency,
                last,
            } => body.batch(*kind, children, *consistency, last),
            Self::Execute {
                id,
                columns_id,
                parameters,
            } => {
                body.short_bytes(id);
                if version == 5 {
                    body.short_bytes(columns_id);
                }
                body.parameters(parameters);
            }
            Self::Prepare { text, keyspace } => {
                body.long_bytes(text.as_bytes());
                if version == 5 {
                    body.int(keyspace.map_or(0, |_| 1));
                    if let Some(keyspace) = keyspace {
                        body.short_bytes(keyspace.as_bytes());
                    }
                }
            }
            Self::Query { text, parameters } => {
                body.long_bytes(text.as_bytes());
                body.parameters(parameters);
            }
        }
        (body.bytes, body.timestamp)
    }
}

/// A custom payload, which stands before the body.
pub(crate) fn payload(entries: &[(String, Value)]) -> Vec<u8> {
    let mut body = Body {
        version: 4,
        bytes: Vec::new(),
        timestamp: None,
    };
    body.short(entries.len());
    for (key, value) in entries {
        body.short_bytes(key.as_bytes());
        body.value(value);
    }
    body.bytes
}

struct Body {
    version: u8,
    bytes: Vec<u8>,
    timestamp: Option<usize>,
}

impl Body {
    fn short(&mut self, number: usize) {
        let number = u16::try_from(number).unwrap();
        self.bytes.extend(number.to_be_bytes());
    }

    fn int(&mut self, number: i32) {
        self.bytes.extend(number.to_be_bytes());
    }

    fn short_bytes(&mut self, bytes: &[u8]) {
        self.short(bytes.len());
        self.bytes.extend(bytes);
    }

    fn long_bytes(&mut self, bytes: &[u8]) {
        self.int(i32::try_from(bytes.len()).unwrap());
        self.bytes.extend(bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.int(-1),
            Value::Set(bytes) => self.long_bytes(bytes),
            Value::Unset => self.int(-2),
        }
    }

    fn values(&mut self, values: &Values) {
        self.short(values.each.len());
        for (name, value) in &values.each {
            if values.named {
                self.short_bytes(name.as_bytes());
            }
            self.value(value);
        }
    }

    fn flags(&mut self, flags: &[(bool, i32)]) {
        let set = flags.iter().filter(|(is_set, _)| *is_set);
        let flags = set.fold(0, |all, (_, flag)| all | flag);
        match self.version {
            5 => self.int(flags),
            _ => self.bytes.push(u8::try_from(flags).unwrap()),
        }
    }

    fn parameters(&mut self, it: &Parameters) {
        let named = it.values.as_ref().is_some_and(|values| values.named);
        self.short(it.consistency.into());
        self.flags(&[
            (it.values.is_some(), 0x01),
            (it.skip_metadata, 0x02),
            (it.page_size.is_some(), 0x04),
            (it.paging_state.is_some(), 0x08),
            (it.last.serial.is_some(), 0x10),
            (it.last.timestamp.is_some(), 0x20),
            (named, 0x40),
            (it.last.keyspace.is_some(), 0x80),
            (it.last.now.is_some(), 0x100),
        ]);
        if let Some(values) = &it.values {
            self.values(values);
        }
        if let Some(size) = it.page_size {
            self.int(size);
        }
        if let Some(state) = &it.paging_state {
            self.long_bytes(state);
        }
        self.last(&it.last);
    }

    fn batch(&mut self, kind: u8, children: &[Child], consistency: u16, last: &Last) {
        self.bytes.push(kind);
        self.short(children.len());
        for child in children {
            match &child.what {
                What::Text(text) => {
                    self.bytes.push(0);
                    self.long_bytes(text.as_bytes());
                }
                What::Id(id) => {
                    self.bytes.push(1);
                    self.short_bytes(id);
                }
            }
            self.values(&child.values);
        }
        self.short(consistency.into());
        self.flags(&[
            (last.serial.is_some(), 0x10),
            (last.timestamp.is_some(), 0x20),
            (last.keyspace.is_some(), 0x80),
            (last.now.is_some(), 0x100),
        ]);
        self.last(last);
    }

    fn last(&mut self, last: &Last) {
        if let Some(serial) = last.serial {
            self.short(serial.into());
        }
        if let Some(timestamp) = last.timestamp {
            self.timestamp = Some(self.bytes.len());
            self.bytes.extend(timestamp.to_be_bytes());
        }
        if let Some(keyspace) = last.keyspace {
            self.short_bytes(keyspace.as_bytes());
        }
        if let Some(now) = last.now {
            self.int(now);
        }
    }
}
