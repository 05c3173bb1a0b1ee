//! How a completion finds its way home: the 64 bits that the kernel carries for an operation.
//!
//! ```text
//!   63      56 55                 32 31                          0
//!  +----------+---------------------+-----------------------------+
//!  | operation|     generation      |        place of the slot    |
//!  +----------+---------------------+-----------------------------+
//! ```
//! Never a pointer: what comes back is looked up, and a stranger's number finds nothing.
#![forbid(unsafe_code)]

use crate::id::{Generation, Slot};
use crate::ring::driver::Operation;

/// Marks completions that nobody waits for: the cancels' own.
pub const IGNORED: u64 = 0;

/// Stands for the poll by which a send waits for room; no kind of operation has this number.
const ROOM: u8 = 0xff;

/// Packs the poll by which a slot's send waits for room.
pub fn pack_room(slot: Slot) -> u64 {
    pack_number(ROOM, slot)
}

/// Unpacks what [`pack_room`] packed; `None` for any other number.
pub fn unpack_room(token: u64) -> Option<Slot> {
    ((token >> 56) as u8 == ROOM).then(|| slot_of(token))
}

/// Packs an operation of a slot.
pub fn pack(operation: Operation, slot: Slot) -> u64 {
    pack_number(operation as u8, slot)
}

fn pack_number(number: u8, slot: Slot) -> u64 {
    u64::from(number) << 56 | u64::from(slot.generation.bits()) << 32 | u64::from(slot.index)
}

fn slot_of(token: u64) -> Slot {
    Slot {
        index: token as u32,
        generation: Generation::from_bits((token >> 32) as u32),
    }
}

/// Unpacks what [`pack`] packed; `None` for any other number.
pub fn unpack(token: u64) -> Option<(Operation, Slot)> {
    const ACCEPT: u8 = Operation::Accept as u8;
    const CONNECT: u8 = Operation::Connect as u8;
    const RECEIVE: u8 = Operation::Receive as u8;
    const SEND: u8 = Operation::Send as u8;
    const WATCH: u8 = Operation::Watch as u8;
    const WAKE: u8 = Operation::Wake as u8;
    const READABLE: u8 = Operation::Readable as u8;
    const WRITABLE: u8 = Operation::Writable as u8;
    const ACCEPTABLE: u8 = Operation::Acceptable as u8;
    let operation = match (token >> 56) as u8 {
        ACCEPT => Operation::Accept,
        CONNECT => Operation::Connect,
        RECEIVE => Operation::Receive,
        SEND => Operation::Send,
        WATCH => Operation::Watch,
        WAKE => Operation::Wake,
        READABLE => Operation::Readable,
        WRITABLE => Operation::Writable,
        ACCEPTABLE => Operation::Acceptable,
        _ => return None,
    };
    Some((operation, slot_of(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for operation in Operation::ALL {
            for index in [0, 1, u32::MAX] {
                for bits in [0, 1, 0xff_ffff] {
                    let slot = Slot {
                        index,
                        generation: Generation::from_bits(bits),
                    };
                    assert_eq!(unpack(pack(operation, slot)), Some((operation, slot)));
                }
            }
        }
    }

    #[test]
    fn strangers_are_not_taken_in() {
        assert_eq!(unpack(IGNORED), None);
        assert_eq!(unpack(u64::MAX), None);
    }
}
