//! Which brokers were heard of lately: soft state that no log holds.
//!
//! Kept by the active controller alone and begun afresh by each new one, as a
//! broker's silence can only be measured by one clock. A session belongs to one
//! registration (node and broker epoch): a broker that registers anew starts anew,
//! and what is left of its older self counts for nothing.
//!
//! Plain data: decisions read it, and say in [`Contact`] how it moves on.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{BrokerEpoch, Millis, NodeId, Offset};

/// What a decision learnt about one broker's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// The broker of this registration was heard.
    Heard {
        /// The broker.
        broker: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// How far it has replayed the metadata; `None` when it did not say.
        metadata_offset: Option<Offset>,
        /// When.
        at: Millis,
    },
    /// It may stop once every other broker has replayed up to `offset`.
    ShutsDown {
        /// The broker.
        broker: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// That of the last record that moved its leaderships.
        offset: Offset,
        /// When it asked.
        at: Millis,
    },
    /// Its process is known to be gone; nothing need be waited for.
    Gone {
        /// The broker.
        broker: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
    },
}

#[derive(Clone, Copy, Debug)]
struct Session {
    epoch: BrokerEpoch,
    /// `None`: the process is gone.
    heard: Option<Millis>,
    metadata_offset: Option<Offset>,
    shutdown_offset: Option<Offset>,
}

/// The sessions of one controller's time in office.
#[derive(Clone, Debug)]
pub struct Sessions {
    since: Millis,
    brokers: BTreeMap<NodeId, Session>,
}

impl Sessions {
    /// Nobody was heard yet; everybody gets a full timeout from `now` on.
    pub fn new(now: Millis) -> Self {
        Self { since: now, brokers: BTreeMap::new() }
    }

    /// Moves on by what a decision learnt.
    pub fn apply(&mut self, contact: Contact) {
        match contact {
            Contact::Heard { broker, epoch, metadata_offset, at } => {
                let session = self.session(broker, epoch);
                session.heard = Some(at);
                session.metadata_offset = session.metadata_offset.max(metadata_offset);
            }
            Contact::ShutsDown { broker, epoch, offset, at } => {
                let session = self.session(broker, epoch);
                session.heard = Some(at);
                session.shutdown_offset = Some(offset);
            }
            Contact::Gone { broker, epoch } => self.session(broker, epoch).heard = None,
        }
    }

    fn session(&mut self, broker: NodeId, epoch: BrokerEpoch) -> &mut Session {
        let fresh = Session { epoch, heard: Some(self.since), metadata_offset: None, shutdown_offset: None };
        let session = self.brokers.entry(broker).or_insert(fresh);
        if session.epoch != epoch {
            *session = fresh;
        }
        session
    }

    fn of(&self, broker: NodeId, epoch: BrokerEpoch) -> Option<&Session> {
        self.brokers.get(&broker).filter(|session| session.epoch == epoch)
    }

    /// When silence of that registration becomes an expired session.
    pub fn expires_at(&self, broker: NodeId, epoch: BrokerEpoch, timeout: Duration) -> Millis {
        let heard = self.of(broker, epoch).map_or(Some(self.since), |session| session.heard);
        heard.map_or(self.since, |heard| heard.after(timeout))
    }

    /// Whether that very registration was heard during this time in office, within `timeout`.
    ///
    /// Stricter than "not yet expired": after a change of controller a broker that was never heard
    /// is not fenced before its time, but its id may be taken over by its next incarnation at once.
    pub fn is_alive(&self, broker: NodeId, epoch: BrokerEpoch, timeout: Duration, now: Millis) -> bool {
        let heard = self.of(broker, epoch).and_then(|session| session.heard);
        heard.is_some_and(|heard| now < heard.after(timeout))
    }

    /// How far that registration has replayed the metadata, as far as it said.
    pub fn metadata_offset(&self, broker: NodeId, epoch: BrokerEpoch) -> Option<Offset> {
        self.of(broker, epoch)?.metadata_offset
    }

    /// What all others must have replayed before that broker may stop.
    pub fn shutdown_offset(&self, broker: NodeId, epoch: BrokerEpoch) -> Option<Offset> {
        self.of(broker, epoch)?.shutdown_offset
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{BrokerEpoch, Millis, NodeId, Offset};

    use super::{Contact, Sessions};

    const TIMEOUT: Duration = Duration::from_millis(9_000);

    fn heard(broker: i32, epoch: i64, offset: i64, at: u64) -> Contact {
        let (broker, epoch) = (NodeId::new(broker), BrokerEpoch::new(epoch));
        Contact::Heard { broker, epoch, metadata_offset: Offset::from_wire(offset), at: Millis::new(at) }
    }

    /// Applies `contacts` to sessions that began at 1,000 and describes broker 1 at epoch 5, at 12,000.
    fn check(contacts: &[Contact], outcome: &str) {
        let mut sessions = Sessions::new(Millis::new(1_000));
        for &contact in contacts {
            sessions.apply(contact);
        }
        let (broker, epoch) = (NodeId::new(1), BrokerEpoch::new(5));
        let described = format!(
            "expires={} alive={} offset={:?}",
            sessions.expires_at(broker, epoch, TIMEOUT).get(),
            sessions.is_alive(broker, epoch, TIMEOUT, Millis::new(12_000)),
            sessions.metadata_offset(broker, epoch).map(Offset::get),
        );
        assert_eq!(described, outcome);
    }

    #[test]
    fn a_broker_never_heard_has_a_full_timeout_but_no_claim_to_its_id() {
        check(&[], "expires=10000 alive=false offset=None");
    }

    #[test]
    fn each_contact_extends_the_session() {
        check(&[heard(1, 5, 7, 4_000)], "expires=13000 alive=true offset=Some(7)");
        check(&[heard(1, 5, 7, 2_000)], "expires=11000 alive=false offset=Some(7)");
        check(&[heard(1, 5, 7, 2_000), heard(1, 5, -1, 3_500)], "expires=12500 alive=true offset=Some(7)");
    }

    #[test]
    fn a_session_belongs_to_one_registration() {
        check(&[heard(1, 4, 7, 4_000)], "expires=10000 alive=false offset=None");
        check(&[heard(1, 4, 7, 4_000), heard(1, 5, 8, 5_000)], "expires=14000 alive=true offset=Some(8)");
        check(&[heard(2, 5, 7, 4_000)], "expires=10000 alive=false offset=None");
    }

    #[test]
    fn a_process_that_is_gone_has_expired() {
        let gone = Contact::Gone { broker: NodeId::new(1), epoch: BrokerEpoch::new(5) };
        check(&[heard(1, 5, 7, 4_000), gone], "expires=1000 alive=false offset=Some(7)");
        check(
            &[heard(1, 5, 7, 4_000), gone, heard(1, 5, 9, 6_000)],
            "expires=15000 alive=true offset=Some(9)",
        );
    }
}
