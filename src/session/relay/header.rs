//! The PROXY protocol header that a client's bytes begin with.
#![forbid(unsafe_code)]

use crate::bounds::PROXY_HEADER_BYTES_MAX;
use crate::buffers::queue::ChunkQueue;
use crate::buffers::{Buffers, Chunk};
use crate::session::proxy_protocol::{Parse, Violation, parse};

/// Takes the header off the front of a queue, as a chunk of its own; `None` if more bytes have to
/// come first.
///
/// Errors: these bytes are no header, whatever comes.
pub(super) fn take(
    queue: &mut ChunkQueue,
    buffers: &mut impl Buffers,
) -> Result<Option<Chunk>, Violation> {
    // Each round joins two chunks, or cuts one in two and joins.
    for _ in 0..ROUNDS_MAX {
        let Some(mut front) = queue.pop(buffers) else {
            return Ok(None);
        };
        match parse(buffers.bytes(&front)) {
            Parse::Complete { length, .. } => {
                // `None`: there is nothing behind it.
                let Some(header) = buffers.split(&mut front, length) else {
                    return Ok(Some(front));
                };
                put_back(queue, front, buffers)?;
                return Ok(Some(header));
            }
            Parse::Invalid(violation) => {
                put_back(queue, front, buffers)?;
                return Err(violation);
            }
            Parse::Incomplete => {
                let next = queue.pop(buffers);
                let waits = next.is_none();
                if let Some(next) = next
                    && let Err(violation) = join(&mut front, next, queue, buffers)
                {
                    buffers.release(front);
                    return Err(violation);
                }
                put_back(queue, front, buffers)?;
                if waits {
                    return Ok(None);
                }
            }
        }
    }
    Err(Violation::TooLong)
}

/// A header's bytes may come one by one, but then they were joined when they were queued.
const ROUNDS_MAX: usize = 8;

/// Adds the next chunk, or as much of it as a header may still have, to the first.
fn join(
    front: &mut Chunk,
    mut next: Chunk,
    queue: &mut ChunkQueue,
    buffers: &mut impl Buffers,
) -> Result<(), Violation> {
    let wanted = PROXY_HEADER_BYTES_MAX.saturating_sub(front.len());
    let (piece, rest) = match buffers.split(&mut next, wanted) {
        Some(piece) => (piece, Some(next)),
        None => (next, None),
    };
    let joined = buffers.try_append(front, piece);
    if let Some(rest) = rest {
        put_back(queue, rest, buffers)?;
    }
    joined.map_err(|piece| {
        buffers.release(piece);
        Violation::TooLong
    })
}

fn put_back(
    queue: &mut ChunkQueue,
    chunk: Chunk,
    buffers: &mut impl Buffers,
) -> Result<(), Violation> {
    queue.try_push_front(chunk, buffers).map_err(|chunk| {
        buffers.release(chunk);
        Violation::TooLong
    })
}
