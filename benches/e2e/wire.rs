//! The few pieces of CQL frames that the stub and the load generator need.

/// Bytes of a frame's header in protocol v3 and v4.
pub(crate) const HEADER: usize = 9;

pub(crate) mod opcode {
    pub(crate) const ERROR: u8 = 0x00;
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const READY: u8 = 0x02;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const SUPPORTED: u8 = 0x06;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const RESULT: u8 = 0x08;
    pub(crate) const PREPARE: u8 = 0x09;
    pub(crate) const EXECUTE: u8 = 0x0A;
    pub(crate) const REGISTER: u8 = 0x0B;
    pub(crate) const BATCH: u8 = 0x0D;
}

pub(crate) mod kind {
    pub(crate) const VOID: i32 = 1;
    pub(crate) const ROWS: i32 = 2;
    pub(crate) const SET_KEYSPACE: i32 = 3;
    pub(crate) const PREPARED: i32 = 4;
    pub(crate) const SCHEMA_CHANGE: i32 = 5;
}

/// The header of one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) version: u8,
    pub(crate) stream: [u8; 2],
    pub(crate) opcode: u8,
    pub(crate) length: usize,
}

impl Header {
    /// Reads a header when all its bytes are there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let &[version, _flags, s0, s1, opcode, l0, l1, l2, l3] = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Some(Self {
            version,
            stream: [s0, s1],
            opcode,
            length,
        })
    }

    /// The stream id as an index; a negative id gives an index that no slot has.
    pub(crate) fn slot(self) -> usize {
        usize::from(u16::from_be_bytes(self.stream))
    }
}

/// Adds one frame to `out`.
pub(crate) fn put_frame(out: &mut Vec<u8>, version: u8, stream: [u8; 2], opcode: u8, body: &[u8]) {
    out.extend_from_slice(&[version, 0, stream[0], stream[1], opcode]);
    out.extend_from_slice(&length(body.len()).to_be_bytes());
    out.extend_from_slice(body);
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// A body under construction.
#[derive(Debug, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn short(mut self, value: usize) -> Self {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn int(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn count(self, value: usize) -> Self {
        self.int(length(value))
    }

    pub(crate) fn string(self, value: &str) -> Self {
        self.short_bytes(value.as_bytes())
    }

    pub(crate) fn short_bytes(mut self, value: &[u8]) -> Self {
        self = self.short(value.len());
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn long_string(self, value: &str) -> Self {
        self.bytes(Some(value.as_bytes()))
    }

    pub(crate) fn bytes(self, value: Option<&[u8]>) -> Self {
        let Some(value) = value else {
            return self.int(-1);
        };
        let mut longer = self.count(value.len());
        longer.0.extend_from_slice(value);
        longer
    }
}

/// Reads a body from its front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    pub(crate) fn short(&mut self) -> Option<usize> {
        let (taken, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(usize::from(u16::from_be_bytes(*taken)))
    }

    pub(crate) fn int(&mut self) -> Option<i32> {
        let (taken, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*taken))
    }

    pub(crate) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let bytes = self.short()?;
        self.take(bytes)
    }

    pub(crate) fn long_string(&mut self) -> Option<&'a str> {
        let bytes = usize::try_from(self.int()?).ok()?;
        std::str::from_utf8(self.take(bytes)?).ok()
    }
}
