//! The first fence around unsafe code: the kernel's io_uring, behind the safe [`driver::Driver`].
//!
//! [`driver`] is the seam, [`uring`] the kernel's side of it, [`arena`] the buffers that the kernel
//! receives into, [`token`] how a completion finds its way home, [`features`] what is used of
//! this kernel.

pub mod arena;
pub mod driver;
pub mod features;
pub mod pipes;
mod probe;
mod queue;
mod receive;
mod record;
pub mod token;
pub mod uring;
