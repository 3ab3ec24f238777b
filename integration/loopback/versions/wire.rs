//! One connection's frames, plain or in segments.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use helix_proxy::wire::coding::{Segment, Tools};
use helix_proxy::wire::{Coding, Version};

/// One connection's frames, plain or in segments.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) version: Version,
    pub(crate) framed: bool,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) plain: Vec<u8>,
}

pub(crate) struct Got {
    pub(crate) version: u8,
    pub(crate) stream: [u8; 2],
    pub(crate) opcode: u8,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, version: Version) -> Self {
        Self {
            stream,
            version,
            framed: false,
            wrapped: Vec::new(),
            plain: Vec::new(),
        }
    }

    pub(crate) async fn read(&mut self) -> Option<Got> {
        loop {
            if let Some(head) = self.plain.first_chunk::<9>().copied() {
                let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
                if 9 + length <= self.plain.len() {
                    let body = self.plain[9..9 + length].to_vec();
                    self.plain.drain(..9 + length);
                    let stream = [head[2], head[3]];
                    return Some(Got {
                        version: head[0],
                        stream,
                        opcode: head[4],
                        body,
                    });
                }
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
