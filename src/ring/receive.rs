//! How a receive is described to the kernel.
#![expect(unsafe_code, reason = "a field that the crate does not know")]

use std::os::fd::RawFd;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;

use crate::bounds::BUFFER_BYTES;
use crate::ring::queue::BUFFER_GROUP;

/// A receive into the ring of buffers: with a budget a multishot one that ends once so many bytes
/// have come, without one for whatever fits one buffer.
pub(super) fn receive_entry(socket: RawFd, budget: Option<u32>) -> Entry {
    match budget {
        Some(budget) => {
            let mut entry = opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build();
            set_total_bytes(&mut entry, budget);
            entry
        }
        None => opcode::Recv::new(Fd(socket), std::ptr::null_mut(), BUFFER_BYTES as u32)
            .buf_group(BUFFER_GROUP)
            .ioprio(RECVSEND_POLL_FIRST)
            .build()
            .flags(io_uring::squeue::Flags::BUFFER_SELECT),
    }
}

/// Do not try before the socket is readable.
///
/// Source: io_uring_enter(2), IORING_RECVSEND_POLL_FIRST (5.19).
const RECVSEND_POLL_FIRST: u16 = 1;

/// Sets the field `optlen` of an entry, the bytes after which a multishot receive ends (6.17). The
/// crate does not know it.
///
/// Source: struct io_uring_sqe in linux/io_uring.h: a 32-bit word at byte 44, where `file_index`
/// is for other operations.
fn set_total_bytes(entry: &mut Entry, bytes: u32) {
    const OPTLEN: usize = 44;
    const { assert!(size_of::<Entry>() == 64) };
    let start = (entry as *mut Entry).cast::<u8>();
    // SAFETY: the word lies within the 64 bytes of the entry.
    let field = unsafe { start.add(OPTLEN) }.cast::<u32>();
    // SAFETY: the entry is plain memory that we hold exclusively, and any number is a valid word.
    unsafe { field.write_unaligned(bytes) };
}
