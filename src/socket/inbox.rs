//! What came off a socket and is no whole frame yet, and the way from bytes to frames.

use std::rc::Rc;

use super::part::LARGE;
use super::{Buffers, Handler, Next};
use crate::wire::coding::{Segment, open_body};
use crate::wire::header::{FLAG_COMPRESSED, Header, HeaderFault};
use crate::wire::{Coding, Compression, Frame, frame};

/// A buffer above this is given back once what it held is whole.
const KEPT_MAX: usize = 4 * 1024;

/// The way in of one socket. It holds at most one cut frame, one cut segment, and what was read
/// before a pause.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    coding: Coding,
    /// Segments that are not whole yet, or that a pause left.
    wrapped: Vec<u8>,
    /// Frames that are not whole yet, or that a pause left.
    partial: Vec<u8>,
}

impl Inbox {
    /// Opens what comes from now on, and what came behind the frame that was handled last.
    pub(super) fn change(&mut self, coding: Coding) {
        self.coding = coding;
        if let Coding::Segments { .. } = coding {
            self.wrapped = std::mem::take(&mut self.partial);
        }
    }

    /// Hands over what an earlier phase or a pause left whole.
    pub(super) fn resume<H: Handler>(&mut self, buffers: &Buffers, handler: &mut H) -> Next {
        if !self.partial.is_empty() {
            let next = self.take_partial(buffers, handler);
            if next != Next::Continue {
                return next;
            }
        }
        if self.wrapped.is_empty() {
            Next::Continue
        } else {
            self.take_wrapped(buffers, handler)
        }
    }

    /// Hands over the frames that `read` completes.
    pub(super) fn take<H: Handler>(
        &mut self,
        read: &[u8],
        buffers: &Buffers,
        handler: &mut H,
    ) -> Next {
        let Coding::Segments { lz4 } = self.coding else {
            return self.take_frames(read, buffers, handler);
        };
        if self.wrapped.is_empty() {
            let (rest, next) = self.take_segments(lz4, read, buffers, handler);
            self.wrapped.extend_from_slice(rest);
            return next;
        }
        self.wrapped.extend_from_slice(read);
        self.take_wrapped(buffers, handler)
    }

    fn take_wrapped<H: Handler>(&mut self, buffers: &Buffers, handler: &mut H) -> Next {
        let lz4 = self.coding == Coding::Segments { lz4: true };
        let wrapped = std::mem::take(&mut self.wrapped);
        let (rest, next) = self.take_segments(lz4, &wrapped, buffers, handler);
        let consumed = wrapped.len() - rest.len();
        self.wrapped = behind(wrapped, consumed);
        next
    }

    /// Opens whole segments until the handler stops or pauses; returns what is left.
    fn take_segments<'a, H: Handler>(
        &mut self,
        lz4: bool,
        mut bytes: &'a [u8],
        buffers: &Buffers,
        handler: &mut H,
    ) -> (&'a [u8], Next) {
        while !handler.is_paused() {
            match Segment::scan(lz4, bytes) {
                Ok(Some((segment, rest))) => {
                    bytes = rest;
                    let next = buffers.in_room(|room| match segment.open(room) {
                        Ok(payload) => self.take_frames(payload, buffers, handler),
                        Err(fault) => refuse(fault.into(), handler),
                    });
                    if next != Next::Continue {
                        return (bytes, next);
                    }
                }
                Ok(None) => break,
                Err(fault) => return (&[], refuse(fault.into(), handler)),
            }
        }
        (bytes, Next::Continue)
    }

    fn take_frames<H: Handler>(&mut self, read: &[u8], buffers: &Buffers, handler: &mut H) -> Next {
        if self.partial.is_empty() {
            handler.ahead(read);
            let (rest, next) = self.scan(read, buffers, handler);
            self.partial.extend_from_slice(rest);
            return next;
        }
        self.partial.extend_from_slice(read);
        if frame::wanted(&self.partial).is_some_and(|wanted| self.partial.len() < wanted) {
            // Its length was checked when the header came in; nothing new can be seen yet.
            return match Frame::scan(&self.partial, H::DIRECTION, handler.limit()) {
                Ok(_) => Next::Continue,
                Err(fault) => refuse(fault, handler),
            };
        }
        self.take_partial(buffers, handler)
    }

    fn take_partial<H: Handler>(&mut self, buffers: &Buffers, handler: &mut H) -> Next {
        let partial = std::mem::take(&mut self.partial);
        if LARGE <= partial.len() {
            return self.take_large(partial, buffers, handler);
        }
        let (rest, next) = self.scan(&partial, buffers, handler);
        let consumed = partial.len() - rest.len();
        self.partial = behind(partial, consumed);
        next
    }

    /// The same, where the handler may keep the buffer.
    #[cold]
    fn take_large<H: Handler>(
        &mut self,
        partial: Vec<u8>,
        buffers: &Buffers,
        handler: &mut H,
    ) -> Next {
        let partial = Rc::new(partial);
        buffers.show(&partial);
        let (rest, next) = self.scan(&partial, buffers, handler);
        let consumed = partial.len() - rest.len();
        self.partial = match Rc::try_unwrap(partial) {
            Ok(partial) => behind(partial, consumed),
            Err(kept) => kept[consumed..].to_vec(),
        };
        next
    }

    /// Hands over whole frames until the handler stops or pauses; returns what is left.
    fn scan<'a, H: Handler>(
        &self,
        mut bytes: &'a [u8],
        buffers: &Buffers,
        handler: &mut H,
    ) -> (&'a [u8], Next) {
        while !handler.is_paused() {
            match Frame::scan(bytes, H::DIRECTION, handler.limit()) {
                Ok(Some((frame, rest))) => {
                    bytes = rest;
                    let next = match self.coding {
                        Coding::Bodies(compression)
                            if frame.header.flags & FLAG_COMPRESSED != 0 =>
                        {
                            open(compression, frame, buffers, handler)
                        }
                        Coding::Bodies(_) | Coding::Plain | Coding::Segments { .. } => {
                            handler.frame(frame)
                        }
                    };
                    if next != Next::Continue {
                        return (bytes, next);
                    }
                }
                Ok(None) => break,
                Err(fault) => return (&[], refuse(fault, handler)),
            }
        }
        (bytes, Next::Continue)
    }
}

/// Hands over a frame with its body decompressed.
fn open<H: Handler>(
    compression: Compression,
    frame: Frame<'_>,
    buffers: &Buffers,
    handler: &mut H,
) -> Next {
    buffers.in_room(
        |room| match open_body(compression, frame.body, handler.limit(), room) {
            Ok(()) if LARGE <= room.len() => {
                let body = Rc::new(std::mem::take(room));
                buffers.show(&body);
                handler.frame(opened(frame.header, &body))
            }
            Ok(()) => handler.frame(opened(frame.header, room)),
            Err(fault) => refuse(fault.into(), handler),
        },
    )
}

fn opened(header: Header, body: &[u8]) -> Frame<'_> {
    let header = Header {
        flags: header.flags & !FLAG_COMPRESSED,
        length: body.len(),
        ..header
    };
    Frame { header, body }
}

fn refuse<H: Handler>(fault: HeaderFault, handler: &mut H) -> Next {
    handler.fault(fault);
    Next::Close
}

/// What is left of a buffer without the first `consumed` bytes.
fn behind(mut buffer: Vec<u8>, consumed: usize) -> Vec<u8> {
    buffer.drain(..consumed);
    if buffer.is_empty() && KEPT_MAX < buffer.capacity() {
        return Vec::new();
    }
    buffer
}
