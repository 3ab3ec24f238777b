//! Memory that all sockets of one thread share.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};

use super::part::Part;
use crate::wire::coding::{ROOM_KEPT_MAX, Tools};

/// Bytes of one read. Large enough that pipelined requests come in one call.
const SCRATCH: usize = 64 * 1024;
/// A spare buffer above this goes back to the allocator.
const SPARE_MAX: usize = 64 * 1024;
/// Bytes kept in spare buffers. Every request in flight holds one of about 1 KiB, so that thousands
/// of them need no allocation.
const SPARES_MAX: usize = 4 * 1024 * 1024;

/// The read buffer and spare write buffers of one thread.
#[derive(Debug)]
pub struct Buffers {
    scratch: RefCell<Box<[u8]>>,
    spares: RefCell<Vec<Vec<u8>>>,
    /// Their capacities together, in bytes.
    spare: Cell<usize>,
    /// Where a compressed body is opened.
    room: RefCell<Vec<u8>>,
    tools: RefCell<Tools>,
    /// The large frame that was read last, as long as somebody holds it.
    large: RefCell<Weak<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            spares: RefCell::default(),
            spare: Cell::default(),
            room: RefCell::default(),
            tools: RefCell::default(),
            large: RefCell::default(),
        }
    }
}

impl Buffers {
    /// The read buffer; borrowed only while one socket reads and its frames are handled.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// Where one compressed body at a time is opened and handled.
    pub(super) fn in_room<R>(&self, open: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut room = self.room.take();
        let result = open(&mut room);
        if room.capacity() <= ROOM_KEPT_MAX {
            *self.room.borrow_mut() = room;
        }
        result
    }

    /// What compressing needs.
    pub(super) fn tools(&self) -> RefMut<'_, Tools> {
        self.tools.borrow_mut()
    }

    /// A large frame is handled from now on: [`Buffers::part`] finds what is passed on of it.
    pub(super) fn show(&self, large: &Rc<Vec<u8>>) {
        *self.large.borrow_mut() = Rc::downgrade(large);
    }

    /// These bytes without a copy, if they are of the large frame that was read last.
    pub(super) fn part(&self, bytes: &[u8]) -> Option<Part> {
        Part::of(self.large.borrow().upgrade()?, bytes)
    }

    /// An empty buffer, with room if a spare one was left.
    #[must_use]
    pub fn lend(&self) -> Vec<u8> {
        let Some(buffer) = self.spares.borrow_mut().pop() else {
            return Vec::with_capacity(1024);
        };
        self.spare.set(self.spare.get() - buffer.capacity());
        buffer
    }

    /// Takes a buffer back.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        let spare = self.spare.get() + buffer.capacity();
        if 0 < buffer.capacity() && buffer.capacity() <= SPARE_MAX && spare <= SPARES_MAX {
            buffer.clear();
            self.spares.borrow_mut().push(buffer);
            self.spare.set(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_buffers_are_bounded_in_bytes() {
        let buffers = Buffers::default();
        for _ in 0..3 * SPARES_MAX / SPARE_MAX {
            buffers.give_back(Vec::with_capacity(SPARE_MAX));
        }
        buffers.give_back(Vec::with_capacity(SPARE_MAX + 1));
        buffers.give_back(Vec::new());
        let mut kept = 0;
        while buffers.spare.get() != 0 {
            kept += buffers.lend().capacity();
        }
        assert_eq!(kept, SPARES_MAX);
        assert!(buffers.spares.borrow().is_empty());
    }
}
