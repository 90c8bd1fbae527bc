//! Why groups rebalance: because of whom, in whose words, and the last reasons of each group.
//!
//! Kafka's records have no place for it, so it is soft state, bounded, and lost with the leadership. A turn that is
//! undone takes its reasons along. What was noted for good is also told to the shell, for the node's log.

use std::borrow::Cow;
use std::sync::Arc;

use imbl::Vector;
use model::Timestamp;
use proto::rebalances::{Rebalance, Rebalances};
use wire::messages::{Bytes, StrBytes, text};

use crate::call::Client;
use crate::classic;
use crate::consumer;
use crate::turn::Turn;

/// How many of its last rebalances a group remembers the reasons of.
pub(crate) const CAUSES_MAX: usize = 16;
/// The longest text kept of a client: its name, and a reason in its own words (KIP-800).
const CHARS_MAX: usize = 255;

/// Why a rebalance began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When.
    pub at: Timestamp,
    /// The generation, or group epoch, that it ended.
    pub generation: i32,
    /// Because of whom; empty when of nobody in particular.
    pub member: StrBytes,
    /// Who that member said it was, and where it was seen.
    pub client: Client,
    /// In words, with the client's own behind a colon where it gave a reason.
    pub reason: String,
}

/// A rebalance that began, to be told in the node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalanced {
    /// The group.
    pub group: Arc<str>,
    /// Why.
    pub cause: Arc<Cause>,
}

/// Why one group rebalanced lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Causes(Vector<Arc<Cause>>);

impl Causes {
    /// The last reason last.
    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.0.iter().map(Arc::as_ref)
    }

    fn push(&mut self, cause: Arc<Cause>) {
        if self.0.len() == CAUSES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(cause);
    }

    /// As the tagged field of an answer.
    pub fn to_bytes(&self) -> Bytes {
        let told = |cause: &Cause| Rebalance {
            at: cause.at.get(),
            epoch: cause.generation,
            member: cause.member.to_string(),
            client_id: cause.client.id.to_string(),
            client_host: cause.client.host.to_string(),
            reason: cause.reason.clone(),
        };
        let told = Rebalances { rebalances: self.iter().map(told).collect() };
        told.to_bytes().expect("texts of a tagged field may be of any length").into()
    }
}

/// Because of whom a rebalance begins, and why. Made while the member is still there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Because {
    member: StrBytes,
    client: Client,
    text: Cow<'static, str>,
    said: Option<StrBytes>,
}

impl Because {
    /// Of nobody in particular.
    pub fn of_nobody(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Because of a member of a classic group.
    pub fn of(group: &classic::Group, member: &StrBytes, text: impl Into<Cow<'static, str>>) -> Self {
        let client = group.member(member).map(|known| known.client.clone()).unwrap_or_default();
        Self { member: member.clone(), client, text: text.into(), said: None }
    }

    /// Because of a member of a group of the new protocol, known as it is given.
    pub fn of_consumer(
        id: &str,
        member: Option<&consumer::Member>,
        words: impl Into<Cow<'static, str>>,
    ) -> Self {
        let client =
            member.map(|known| Client { id: text(&known.client_id), host: text(&known.client_host) });
        Self { member: text(id), client: client.unwrap_or_default(), text: words.into(), said: None }
    }

    /// The client's own words, if it has any.
    pub fn saying(self, said: Option<&StrBytes>) -> Self {
        Self { said: said.filter(|said| !said.is_empty()).cloned(), ..self }
    }

    fn reason(&self) -> String {
        match &self.said {
            Some(said) => format!("{}: {}", self.text, cut(said)),
            None => self.text.to_string(),
        }
    }
}

/// At most so many characters of a client's text, in memory of its own.
fn cut(said: &StrBytes) -> String {
    said.chars().take(CHARS_MAX).collect()
}

/// Notes why `generation` of a group is over.
pub(crate) fn note(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    causes: &mut Causes,
    generation: i32,
    because: Because,
) {
    let cause = Arc::new(Cause {
        at: turn.now.time,
        generation,
        member: text(&cut(&because.member)),
        client: Client { id: text(&cut(&because.client.id)), host: text(&cut(&because.client.host)) },
        reason: because.reason(),
    });
    causes.push(cause.clone());
    turn.rebalanced.push(Rebalanced { group: id.clone(), cause });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_reasons_are_kept_and_only_so_much_of_each() {
        let mut causes = Causes::default();
        for number in 0..40 {
            let because = Because::of_nobody("a member left").saying(Some(&text(&"x".repeat(1000))));
            let (member, client, reason) = (StrBytes::default(), Client::default(), because.reason());
            let at = Timestamp::new(number);
            causes.push(Arc::new(Cause { at, generation: 1, member, client, reason }));
        }
        let kept: Vec<&Cause> = causes.iter().collect();
        assert_eq!((kept.len(), kept[0].at), (CAUSES_MAX, Timestamp::new(24)));
        assert_eq!(kept[0].reason.len(), "a member left: ".len() + CHARS_MAX);
        let told = Rebalances::from_bytes(&causes.to_bytes()).expect("it was written so");
        assert_eq!((told.rebalances.len(), told.rebalances[15].at), (CAUSES_MAX, 39));
    }

    #[test]
    fn an_empty_reason_is_none() {
        assert_eq!(Because::of_nobody("a member left").saying(Some(&text(""))).reason(), "a member left");
    }
}
