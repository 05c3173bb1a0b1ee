//! The buffers of the bare relay, and the ring through which the kernel takes them.
//!
//! A buffer is free (in `free`), posted (the kernel may fill it) or taken (it holds received bytes until they are
//! sent). Few are posted at a time and the last one given back is the next one posted, so that small messages
//! stay within a few hot pages; the rest of the address space is never touched.
#![expect(unsafe_code, reason = "the memory is shared with the kernel")]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The buffers and their ring. Never unmapped: the kernel may write to them until the process ends.
pub(crate) struct Arena {
    memory: *mut u8,
    ring: *mut BufRingEntry,
    tail: u16,
    posted: u16,
    free: Vec<u16>,
}

impl Arena {
    /// Maps the buffers, registers the ring as [`GROUP`] and posts the first ones.
    pub(crate) fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let memory = map(usize::from(BUFFERS) * BUFFER_BYTES)?;
        let ring = map(usize::from(POSTED) * size_of::<BufRingEntry>())?;
        // SAFETY: `map` returned page-aligned memory for POSTED entries, and it is never unmapped
        // (io_uring_register_buf_ring(3)).
        unsafe { submitter.register_buf_ring_with_flags(ring.addr() as u64, POSTED, GROUP, 0) }?;
        let mut arena = Self {
            memory,
            ring: ring.cast(),
            tail: 0,
            posted: 0,
            free: (0..BUFFERS).rev().collect(),
        };
        arena.post();
        Ok(arena)
    }

    /// The address of a buffer.
    #[inline]
    pub(crate) fn address(&self, buffer: u16) -> *const u8 {
        self.memory.wrapping_add(usize::from(buffer) * BUFFER_BYTES)
    }

    /// Notes that the kernel has filled a posted buffer.
    #[inline]
    pub(crate) fn taken(&mut self) {
        self.posted -= 1;
    }

    /// Gives a taken buffer back.
    #[inline]
    pub(crate) fn release(&mut self, buffer: u16) {
        self.free.push(buffer);
    }

    /// True if the kernel has a buffer to receive into.
    pub(crate) fn has_posted(&self) -> bool {
        self.posted > 0
    }

    /// Fills the ring up from the free buffers; once per turn.
    #[inline]
    pub(crate) fn post(&mut self) {
        let before = self.tail;
        while self.posted < POSTED
            && let Some(buffer) = self.free.pop()
        {
            let address = self.address(buffer) as u64;
            let slot = usize::from(self.tail % POSTED);
            // SAFETY: the slot is below POSTED, and the kernel reads no entry at or after the tail.
            let entry = unsafe { &mut *self.ring.wrapping_add(slot) };
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            self.posted += 1;
        }
        if self.tail != before {
            // SAFETY: `ring` is the address of the first entry of the registered ring.
            let tail = unsafe { BufRingEntry::tail(self.ring) }.cast_mut();
            // SAFETY: the tail is an aligned u16 that only this thread writes and the kernel reads.
            let tail = unsafe { AtomicU16::from_ptr(tail) };
            tail.store(self.tail, Ordering::Release);
        }
    }
}

fn map(bytes: usize) -> io::Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: an anonymous mapping at an address of the kernel's choice aliases nothing (mmap(2)).
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address.cast())
}

/// The buffer group that receives name.
pub(crate) const GROUP: u16 = 0;
/// The size of a buffer.
const BUFFER_BYTES: usize = 16 * 1024;
/// How many buffers there are: 128 MiB of address space.
const BUFFERS: u16 = 8192;
/// How many the kernel has at a time; a power of two.
const POSTED: u16 = 128;

const _: () = assert!(POSTED.is_power_of_two() && POSTED <= BUFFERS);
