//! One non-blocking connection: frames in through a shared buffer, bytes out in one write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::wire::{HEADER, Header};

/// How much is read at once; shared by all connections of a process.
pub(crate) const SCRATCH: usize = 256 * 1024;

/// A socket with the bytes that did not make a whole frame yet and those not yet sent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    pub(crate) out: Vec<u8>,
    kept: Vec<u8>,
    sent: usize,
}

impl Link {
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            out: Vec::new(),
            kept: Vec::new(),
            sent: 0,
        })
    }

    /// Reads once and hands over each whole frame; an error also when the peer is gone.
    pub(crate) fn read(
        &mut self,
        scratch: &mut Vec<u8>,
        mut take: impl FnMut(Header, &[u8], &mut Vec<u8>),
    ) -> io::Result<()> {
        let kept = self.kept.len();
        if scratch.len() < kept * 2 {
            scratch.resize(kept * 2, 0);
        }
        scratch[..kept].copy_from_slice(&self.kept);
        let read = match self.socket.read(&mut scratch[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if is_soon(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut rest = &scratch[..kept + read];
        while let Some(header) = Header::read(rest) {
            let Some((frame, after)) = rest.split_at_checked(HEADER + header.length) else {
                break;
            };
            take(header, &frame[HEADER..], &mut self.out);
            rest = after;
        }
        self.kept.clear();
        self.kept.extend_from_slice(rest);
        Ok(())
    }

    /// Writes what is waiting; true once nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.out.clear();
        Ok(true)
    }
}

fn is_soon(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
