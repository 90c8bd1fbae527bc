//! Connections: the seams for listening, connecting, telling time and waiting
//! for disks, and the client side of a Kafka connection.
//!
//! A node gets its [`Network`] and [`Clock`] from outside, so that one process can
//! hold a whole cluster: over TCP, over pipes in a test ([`pipe::PipeNetwork`]), or
//! inside a simulation. No API's meaning is known here, only frames and ids.

mod blocking;
mod clock;
mod connection;
mod frames;
pub mod pipe;
mod seams;
pub mod task;
mod tcp;
mod threads;

pub use blocking::{Blocking, Spent, WorkTime};
pub use clock::{Clock, SystemClock, VirtualClock};
pub use connection::{ConnectError, ConnectOptions, Connection, SendError};
pub use frames::{FrameError, FrameReader};
pub use seams::{Halves, Listener, Network, ReadHalf, Stream, WriteHalf};
pub use tcp::TcpNetwork;
pub use threads::{Place, Threads};
