//! The command line of Ringlane.
#![forbid(unsafe_code)]

fn main() {}
