//! Memory that all sockets of one thread share.

use std::cell::{RefCell, RefMut};

/// Bytes of one read. Large enough that pipelined requests come in one call.
const SCRATCH: usize = 64 * 1024;
/// A spare buffer above this goes back to the allocator.
const SPARE_MAX: usize = 64 * 1024;
/// Spare buffers kept.
const SPARES_MAX: usize = 64;

/// The read buffer and spare write buffers of one thread.
#[derive(Debug)]
pub struct Buffers {
    scratch: RefCell<Box<[u8]>>,
    spares: RefCell<Vec<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            spares: RefCell::default(),
        }
    }
}

impl Buffers {
    /// The read buffer; borrowed only while one socket reads and its frames are handled.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// An empty buffer, with room if a spare one was left.
    #[must_use]
    pub fn lend(&self) -> Vec<u8> {
        self.spares
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a buffer back.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if buffer.capacity() <= SPARE_MAX && spares.len() < SPARES_MAX {
            buffer.clear();
            spares.push(buffer);
        }
    }
}
