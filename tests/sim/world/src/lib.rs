//! The machines that a simulated node runs on: network, disks, clocks, and the process itself.
//!
//! Everything lives on one thread in tokio's paused time, draws from one seed, and fails
//! on demand. Nothing here knows what a broker is: only the seams of `net` and `log`.

pub mod clock;
pub mod disk;
pub mod network;
pub mod process;
pub mod trace;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use network::{SimHost, SimNetwork};
pub use process::Process;
