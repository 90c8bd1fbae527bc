//! Numbers with a meaning: node ids, offsets, epochs, producer ids.
//!
//! Each is signed and as wide as Kafka's protocol makes it. Kafka's `-1` for
//! "none" stays at the edge: inside, absence is `Option`.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number as it stands on the wire.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number as it stands on the wire.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// `None` for Kafka's negative "absent".
            pub const fn from_wire(value: $inner) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// `node.id`: one number for a process in both its roles.
    NodeId(i32)
}
number! {
    /// A partition's number within its topic.
    PartitionIndex(i32)
}
number! {
    /// A record's place in its partition; also the end of a log (the next offset).
    Offset(i64)
}
number! {
    /// Counts the leaders of one partition, or of the metadata quorum.
    LeaderEpoch(i32)
}
number! {
    /// Counts the changes of one partition's leader and in-sync set (KIP-497).
    PartitionEpoch(i32)
}
number! {
    /// Tells one registration of a broker from the next (KIP-380).
    BrokerEpoch(i64)
}
number! {
    /// An idempotent or transactional producer (KIP-98).
    ProducerId(i64)
}
number! {
    /// Tells one incarnation of a producer from the next.
    ProducerEpoch(i16)
}

impl Offset {
    /// The first offset of a log.
    pub const ZERO: Self = Self(0);

    /// The offset `records` further on.
    pub fn plus(self, records: i64) -> Self {
        Self(self.0.checked_add(records).expect("offsets stay below 2^63"))
    }

    /// The offset after this one.
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// How many offsets lie between `earlier` and this one; negative when it is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl LeaderEpoch {
    /// The epoch of the next leader.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^31 elections of one partition"))
    }
}

impl PartitionEpoch {
    /// The epoch after one more change.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^31 changes of one partition"))
    }
}
