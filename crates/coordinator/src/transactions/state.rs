//! What a transactional id is at, with Kafka's numbers and names.

/// A state that a record can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No transaction since the producer was initialised.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// It is decided, and its partitions are being told.
    PrepareCommit,
    /// It is decided, and its partitions are being told.
    PrepareAbort,
    /// All partitions know.
    CompleteCommit,
    /// All partitions know.
    CompleteAbort,
}

/// States that Kafka's coordinator is in while it writes; nothing here is ever in one, but a filter may name them.
const PASSING: [&str; 2] = ["Dead", "PrepareEpochFence"];

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// Its number in a record.
    pub fn number(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
        }
    }

    /// The state of a record's number.
    pub fn from_number(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether `name` is a word that a filter may use.
    pub fn is_known(name: &str) -> bool {
        PASSING.contains(&name) || Self::ALL.iter().any(|state| state.name() == name)
    }

    /// Decided, and not yet told to all partitions: commit, or not.
    pub fn prepared(self) -> Option<bool> {
        match self {
            Self::PrepareCommit => Some(true),
            Self::PrepareAbort => Some(false),
            _ => None,
        }
    }

    /// Told to all partitions: commit, or not.
    pub fn complete(self) -> Option<bool> {
        match self {
            Self::CompleteCommit => Some(true),
            Self::CompleteAbort => Some(false),
            _ => None,
        }
    }

    /// Whether nothing is open, so that a new producer may begin.
    pub fn is_idle(self) -> bool {
        self == Self::Empty || self.complete().is_some()
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty => self.is_idle(),
            Self::Ongoing => self.is_idle() || self == Self::Ongoing,
            Self::PrepareCommit => self == Self::Ongoing,
            // With transactions v2 a transaction may be aborted before anything was added to it.
            Self::PrepareAbort => self.is_idle() || self == Self::Ongoing,
            Self::CompleteCommit => self == Self::PrepareCommit,
            Self::CompleteAbort => self == Self::PrepareAbort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_kafkas_and_lead_back() {
        for (number, name) in ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit"]
            .into_iter()
            .chain(["CompleteAbort"])
            .enumerate()
        {
            let state = State::from_number(i8::try_from(number).expect("few")).expect("a state");
            assert_eq!((state.name(), usize::try_from(state.number())), (name, Ok(number)));
            assert!(State::is_known(name));
        }
        assert_eq!(State::from_number(6), None);
        assert!(State::is_known("Dead") && !State::is_known("Gone"));
    }

    #[test]
    fn a_prepared_transaction_never_goes_back() {
        for prepared in [State::PrepareCommit, State::PrepareAbort] {
            let next: Vec<State> = State::ALL.into_iter().filter(|next| prepared.may_become(*next)).collect();
            let complete =
                if prepared == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
            assert_eq!(next, [complete]);
        }
    }
}
