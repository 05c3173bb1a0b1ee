//! The integration tests: one binary.
#![forbid(unsafe_code)]

mod sim;
