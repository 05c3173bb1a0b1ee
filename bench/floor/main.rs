//! The floor: the least that a TCP relay on io_uring can cost.
//!
//! Reads the arguments, pins the thread and hands over to [`relay`]. Every comparison divides by what this program
//! uses, so it has no feature, no timer and no limit: whatever a relay costs above it is the price of those.

mod arena;
mod relay;

use std::io;
use std::net::{SocketAddrV4, TcpListener};

use clap::Parser;

/// A bare relay from one address to another.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to accept connections on
    #[arg(long)]
    listen: SocketAddrV4,
    /// The address to relay them to
    #[arg(long)]
    to: SocketAddrV4,
    /// The CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Passed by `cargo bench`; means nothing
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(id) = arguments.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return Err(io::Error::other(format!("cannot run on CPU {id}")));
    }
    relay::run(&TcpListener::bind(arguments.listen)?, arguments.to)
}
