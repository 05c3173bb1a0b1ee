//! Control: holds the truth and tells the workers. It never touches a byte of traffic.
#![forbid(unsafe_code)]

pub mod exposition;
pub mod publisher;
pub mod request;
