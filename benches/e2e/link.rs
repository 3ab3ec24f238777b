//! One non-blocking connection: frames in through a shared buffer, bytes out in one write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::coding::Coding;
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
    coding: Coding,
    /// What is on its way as it travels, where that is not as it is.
    wrapped: Vec<u8>,
    /// Unwrapped, but not a whole frame yet.
    opened: Vec<u8>,
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
            coding: Coding::Plain,
            wrapped: Vec::new(),
            opened: Vec::new(),
        })
    }

    /// Codes from now on what is read and what is sent.
    pub(crate) fn change(&mut self, coding: Coding) {
        self.coding = coding;
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
        if self.coding != Coding::Plain {
            return self.read_coded(&scratch[..kept + read], take);
        }
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

    fn read_coded(
        &mut self,
        raw: &[u8],
        mut take: impl FnMut(Header, &[u8], &mut Vec<u8>),
    ) -> io::Result<()> {
        let taken = self.coding.open(raw, &mut self.opened)?;
        self.kept.clear();
        self.kept.extend_from_slice(&raw[taken..]);
        let mut rest = &*self.opened;
        while let Some(header) = Header::read(rest) {
            let Some((frame, after)) = rest.split_at_checked(HEADER + header.length) else {
                break;
            };
            take(header, &frame[HEADER..], &mut self.out);
            rest = after;
        }
        let left = self.opened.len() - rest.len();
        self.opened.drain(..left);
        Ok(())
    }

    /// Writes what is waiting; true once nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if self.coding == Coding::Plain && self.wrapped.is_empty() {
            return Self::send(&mut self.socket, &mut self.out, &mut self.sent);
        }
        self.coding.seal(&self.out, &mut self.wrapped);
        self.out.clear();
        Self::send(&mut self.socket, &mut self.wrapped, &mut self.sent)
    }

    fn send(socket: &mut TcpStream, out: &mut Vec<u8>, sent: &mut usize) -> io::Result<bool> {
        while *sent < out.len() {
            match socket.write(&out[*sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        *sent = 0;
        out.clear();
        Ok(true)
    }
}

fn is_soon(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
