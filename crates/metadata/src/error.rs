//! Why a record cannot be true of the image it meets.

/// Why a record cannot be replayed. The log and the image then disagree: the node must not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It speaks of something that is not there.
    #[error("{record}: there is no {what} {id}")]
    Unknown {
        /// The record's name.
        record: &'static str,
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        id: String,
    },
    /// It gives a name or id that something else has.
    #[error("{record}: {what} {id} belongs to {had}, not to {got}")]
    Taken {
        /// The record's name.
        record: &'static str,
        /// What kind of name.
        what: &'static str,
        /// Which one.
        id: String,
        /// Who has it.
        had: String,
        /// Who would get it.
        got: String,
    },
    /// It carries a number that does not follow the one in the image.
    #[error("{record}: {what} has {had}, the record {got}")]
    Stale {
        /// The record's name.
        record: &'static str,
        /// What the number belongs to, and its name.
        what: String,
        /// In the image.
        had: i64,
        /// In the record.
        got: i64,
    },
    /// Its parts contradict each other, or what is allowed.
    #[error("{record}: {place}: expected {expected}, got {got}")]
    Invalid {
        /// The record's name.
        record: &'static str,
        /// Where in the image.
        place: String,
        /// What could stand there.
        expected: String,
        /// What the record says.
        got: String,
    },
    /// It begins, ends or aborts a transaction out of turn.
    #[error("{record}: {had}")]
    Transaction {
        /// The record's name.
        record: &'static str,
        /// How things stand.
        had: String,
    },
}

impl ReplayError {
    pub(crate) fn unknown(record: &'static str, what: &'static str, id: impl ToString) -> Self {
        Self::Unknown { record, what, id: id.to_string() }
    }

    pub(crate) fn invalid(
        record: &'static str,
        place: impl ToString,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        let (place, expected, got) = (place.to_string(), expected.to_string(), got.to_string());
        Self::Invalid { record, place, expected, got }
    }
}
