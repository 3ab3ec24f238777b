//! One connection's frames, plain or in segments.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use helix_proxy::wire::coding::{Segment, Tools};
use helix_proxy::wire::{Coding, Version, put};

/// See the module.
pub(crate) struct Wire {
    stream: TcpStream,
    pub(crate) framed: bool,
    wrapped: Vec<u8>,
    plain: Vec<u8>,
}

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) stream: [u8; 2],
    pub(crate) opcode: u8,
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// The bytes of the frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = raw(self.version, self.stream, self.opcode, &self.body);
        out[1] = self.flags;
        out
    }
}

impl Wire {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            framed: false,
            wrapped: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// A client's, from STARTUP to READY.
    pub(crate) async fn started(address: SocketAddr, version: Version) -> Self {
        let mut wire = Self::new(TcpStream::connect(address).await.unwrap());
        let mut body = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            put::string(&mut body, text);
        }
        wire.write(&raw(version.number(), [0, 1], 0x01, &body))
            .await;
        assert_eq!(wire.read().await.unwrap().opcode, 0x02);
        wire.framed = version == Version::V5;
        wire
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Got> {
        loop {
            if let Some(got) = self.take() {
                return Some(got);
            }
            let mut some = vec![0; 65_536];
            let read = self.stream.read(&mut some).await.ok().filter(|n| 0 < *n)?;
            if !self.framed {
                self.plain.extend(&some[..read]);
                continue;
            }
            self.wrapped.extend(&some[..read]);
            let mut room = Vec::new();
            while let Some((segment, rest)) = Segment::scan(false, &self.wrapped).unwrap() {
                self.plain.extend(segment.open(&mut room).unwrap());
                self.wrapped = rest.to_vec();
            }
        }
    }

    fn take(&mut self) -> Option<Got> {
        let &[version, flags, s0, s1, opcode, l0, l1, l2, l3] = self.plain.first_chunk()?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let body = self.plain.get(9..9 + length)?.to_vec();
        self.plain.drain(..9 + length);
        Some(Got {
            version,
            flags,
            stream: [s0, s1],
            opcode,
            body,
        })
    }

    pub(crate) fn sealed(&self, frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let coding = match self.framed {
            true => Coding::Segments { lz4: false },
            false => Coding::Plain,
        };
        coding.seal(frames, &mut out, &mut Tools::default());
        out
    }

    pub(crate) async fn write(&mut self, frames: &[u8]) {
        let sealed = self.sealed(frames);
        drop(self.stream.write_all(&sealed).await);
    }
}

pub(crate) fn raw(first: u8, stream: [u8; 2], opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first, 0, stream[0], stream[1], opcode];
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// RESULT of PREPARE, of a statement without variables and of unknown columns.
pub(crate) fn prepared(id: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put::i32(&mut out, 4);
    put::short_bytes(&mut out, id);
    for number in [0, 0, 0, 4, 0] {
        put::i32(&mut out, number);
    }
    out
}
