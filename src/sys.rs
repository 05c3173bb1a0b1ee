//! The second fence around unsafe code: system calls other than the ring's, behind safe functions.
//!
//! Nothing here decides anything. Each function is one thing that the kernel does, named after what
//! it does for us.

pub mod affinity;
pub mod clock;
pub mod descriptors;
pub mod options;
pub mod pipe;
pub mod socket;
pub mod wake;
