//! What comes in and what goes out: requests with who sent them, and answers with whom they are for.

use model::{Millis, Timestamp, Uuid};
use wire::messages::{RequestKind, ResponseKind, StrBytes};

/// What time it is, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For sessions and timeouts.
    pub clock: Millis,
    /// For what records carry: when an offset was committed, since when a group is empty.
    pub time: Timestamp,
}

/// The shell's own name for a request whose answer may come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Whom an answer is for, and in which version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The request.
    pub token: Token,
    /// The version that it was sent in.
    pub version: i16,
}

/// Who a client says it is, and where it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The request header's client id.
    pub id: StrBytes,
    /// The peer's address, as Kafka writes it: `/127.0.0.1`.
    pub host: StrBytes,
}

/// A request on its way to a shard.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom to answer.
    pub caller: Caller,
    /// Who asks.
    pub client: Client,
    /// A fresh random number, should a member need an id.
    pub chance: Uuid,
    /// What is asked.
    pub request: RequestKind,
}

/// An answer to let go.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// To which request.
    pub token: Token,
    /// What it says.
    pub response: ResponseKind,
}
