//! The node: listeners, handlers, the controller loop, the broker's lifecycle, the data plane.
//!
//! ```text
//!   server -> dispatch -> handlers -> controller_link -> controller_loop -> quorum
//!                  \                                                          |
//!                   -> data  <----------------- publish <---------------------+
//! ```
//!
//! Requests come in through `server`, records that the quorum commits come back
//! through `publish`, and `node` wires it all together from what it is given:
//! network, disk, clock, seed. Nothing here knows a command line.

mod clean_shutdown;
mod context;
mod controller_link;
mod controller_loop;
mod controller_registration;
pub mod data;
mod dispatch;
mod groups;
mod handlers;
pub mod identity;
mod inspect;
mod lifecycle;
mod node;
mod peers;
mod presence;
mod publish;
mod running;
mod server;
mod transactions;
mod whereabouts;

pub use data::{LogInspection, Part, PartitionInspection};
pub use inspect::{Inspection, News};
pub use lifecycle::Registration;
pub use node::{Failure, Node, NodeOptions, StartError};
pub use publish::Picture;
