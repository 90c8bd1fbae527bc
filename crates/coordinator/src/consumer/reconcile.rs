//! One step of a member towards its target: give up first, then take what others have given up.
//!
//! ```text
//!             has to give up                  has given up
//!   Stable -------------------> Unrevoked ------------------> Stable, or
//!      |                                                      Unreleased: others have not given up yet
//!      +------------------------------------------------------^   (each heartbeat takes what has become free)
//! ```
//!
//! A function of what is written and what the member says it has; it writes nothing itself.

use std::collections::BTreeSet;

use model::TopicId;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::from_wire_uuid;

use super::member::{Current, Owned, Parts, State};
use crate::refusal::Refusal;

/// What a member says it has; `None` when it does not say.
pub(crate) type Claim<'a> = Option<&'a [TopicPartitions]>;

/// What a step is made from.
pub(crate) struct Step<'a> {
    /// Where the member stands.
    pub current: &'a Current,
    /// The target's epoch, and what it has for the member.
    pub target_epoch: i32,
    pub target: &'a Parts,
    /// The topics that the member reads, of those that there are.
    pub topics: &'a BTreeSet<TopicId>,
    /// It reads others than before: what it does not read any more it gives up, whatever the target says.
    pub has_changed: bool,
    /// What it says it has.
    pub claim: Claim<'a>,
}

impl Step<'_> {
    /// Where the member stands next. `is_taken` says whether somebody has a partition.
    pub fn take(&self, is_taken: impl Fn(TopicId, i32) -> bool) -> Result<Current, Refusal> {
        let current = self.current;
        match current.state {
            State::Stable if current.epoch != self.target_epoch => Ok(self.towards(current.epoch, is_taken)),
            State::Stable if self.has_changed => Ok(self.shed()),
            State::Stable => Ok(current.clone()),
            State::UnrevokedPartitions if !self.claims(&current.revoking) => {
                Ok(self.towards(current.epoch, is_taken))
            }
            State::UnrevokedPartitions if self.has_changed => Ok(self.shed()),
            State::UnrevokedPartitions => Ok(current.clone()),
            State::UnreleasedPartitions => Ok(self.towards(current.epoch, is_taken)),
            State::Unknown(_) if self.claim.is_some_and(<[_]>::is_empty) => {
                Ok(self.towards(self.target_epoch, is_taken))
            }
            State::Unknown(_) => Err(Refusal::UnknownState),
        }
    }

    /// Whether the member may still have one of these. Who does not say may.
    fn claims(&self, owned: &Owned) -> bool {
        let Some(claim) = self.claim else { return true };
        claim.iter().any(|topic| {
            let own = owned.get(&from_wire_uuid(topic.topic_id));
            own.is_some_and(|own| topic.partitions.iter().any(|partition| own.contains_key(partition)))
        })
    }

    fn towards(&self, epoch: i32, is_taken: impl Fn(TopicId, i32) -> bool) -> Current {
        let (mut assigned, mut revoking) = (Owned::new(), Owned::new());
        for (&topic, partitions) in &self.current.assigned {
            for (&partition, &since) in partitions {
                let stays = self.wants(topic, partition);
                let place = if stays { &mut assigned } else { &mut revoking };
                place.entry(topic).or_default().insert(partition, since);
            }
        }
        if !revoking.is_empty() && self.claims(&revoking) {
            let state = State::UnrevokedPartitions;
            return Current { state, assigned, revoking, ..self.current.advanced_to(epoch) };
        }
        let mut waits = false;
        for (&topic, partitions) in self.target.iter().filter(|(topic, _)| self.topics.contains(*topic)) {
            for &partition in partitions {
                let has = |owned: &Owned| owned.get(&topic).is_some_and(|own| own.contains_key(&partition));
                if has(&self.current.assigned) {
                    continue;
                }
                // What it gave up itself is free for it.
                if is_taken(topic, partition) && !has(&self.current.revoking) {
                    waits = true;
                } else {
                    assigned.entry(topic).or_default().insert(partition, self.target_epoch);
                }
            }
        }
        let state = if waits { State::UnreleasedPartitions } else { State::Stable };
        Current { state, assigned, revoking: Owned::new(), ..self.current.advanced_to(self.target_epoch) }
    }

    fn wants(&self, topic: TopicId, partition: i32) -> bool {
        self.topics.contains(&topic) && self.target.get(&topic).is_some_and(|own| own.contains(&partition))
    }

    /// Gives up what the member does not read any more, and changes nothing else.
    fn shed(&self) -> Current {
        let mut assigned = self.current.assigned.clone();
        let mut revoking = self.current.revoking.clone();
        let unread: Vec<TopicId> =
            assigned.keys().copied().filter(|topic| !self.topics.contains(topic)).collect();
        if unread.is_empty() {
            return self.current.clone();
        }
        for topic in unread {
            let partitions = assigned.remove(&topic).expect("it was found there");
            revoking.entry(topic).or_default().extend(partitions);
        }
        if self.claims(&revoking) {
            let state = State::UnrevokedPartitions;
            return Current { state, assigned, revoking, ..self.current.advanced_to(self.current.epoch) };
        }
        Current { assigned, ..self.current.advanced_to(self.current.epoch) }
    }
}
