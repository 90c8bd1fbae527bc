//! Who leads a partition: the one election used everywhere.
//!
//! The leader comes from the in-sync set; when that is empty, from the eligible
//! leader replicas (KIP-966), which hold every committed record though they fell
//! behind; when there are none of those either, it may be the last leader known.
//! Anyone else is an unclean choice: records may be lost, and only an operator or a
//! topic's `unclean.leader.election.enable` asks for it.

use model::{Mutant, NodeId};

/// What an election is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Election {
    /// Give the first replica back its leadership, if that costs nothing.
    Preferred,
    /// Keep the partition online without a loss.
    #[default]
    Online,
    /// Keep the partition online at any price.
    Unclean,
}

/// Who stands, in the partition as it will be after the change at hand.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Replicas in preferred order.
    pub replicas: &'a [NodeId],
    /// The in-sync set.
    pub isr: &'a [NodeId],
    /// The eligible leader replicas.
    pub elr: &'a [NodeId],
    /// The present leader.
    pub leader: Option<NodeId>,
    /// Who led when the last eligible replica was lost; `None` when that is not one known broker.
    pub last_known: Option<NodeId>,
}

/// An election's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elected {
    /// The leader, if there can be one.
    pub leader: Option<NodeId>,
    /// Whether it may lack committed records.
    pub unclean: bool,
}

impl Candidates<'_> {
    /// Whether `node` holds every committed record.
    fn is_clean(&self, node: NodeId) -> bool {
        self.isr.contains(&node) || (self.isr.is_empty() && self.elr.contains(&node))
    }
}

/// Elects among the candidates for whom `acceptable` holds: those that live and stay.
pub fn elect(stand: &Candidates<'_>, election: Election, acceptable: impl Fn(NodeId) -> bool) -> Elected {
    let valid = |node: &NodeId| stand.is_clean(*node) && acceptable(*node);
    let clean = |leader: NodeId| Elected { leader: Some(leader), unclean: false };
    let unclean = |leader: NodeId| Elected { leader: Some(leader), unclean: true };

    let preferred = stand.replicas.first().copied().filter(valid);
    if let (Election::Preferred, Some(leader)) = (election, preferred) {
        return clean(leader);
    }
    let stays = stand.leader.filter(valid);
    if let Some(leader) = stays.or_else(|| stand.replicas.iter().copied().find(valid)) {
        return clean(leader);
    }
    let nobody_is_clean = stand.isr.is_empty() && stand.elr.is_empty();
    let last_known = stand.last_known.filter(|&node| nobody_is_clean && acceptable(node));
    if let Some(leader) = last_known {
        return unclean(leader);
    }
    let anyone = stand.replicas.iter().copied().find(|&node| acceptable(node));
    match (election, anyone) {
        (Election::Unclean, Some(leader)) => unclean(leader),
        (_, Some(leader)) if Mutant::ElectedUncleanly.is_planted() => unclean(leader),
        _ => Elected { leader: None, unclean: false },
    }
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::{Candidates, Election, elect};

    fn nodes(text: &str) -> Vec<NodeId> {
        let ids = text.split(',').filter(|id| !id.is_empty());
        ids.map(|id| NodeId::new(id.parse().expect("an id"))).collect()
    }

    /// `replicas=1,2,3 isr=1 elr= leader=1 last= live=2,3` -> `online preferred unclean`, each `2`, `2!` or `-`.
    fn check(situation: &str, outcome: &str) {
        let field = |name: &str| {
            let words = situation.split_whitespace();
            let value = words.filter_map(|word| word.split_once('=')).find(|(key, _)| *key == name);
            nodes(value.map_or("", |(_, value)| value))
        };
        let (replicas, isr, elr, live) = (field("replicas"), field("isr"), field("elr"), field("live"));
        let stand = Candidates {
            replicas: &replicas,
            isr: &isr,
            elr: &elr,
            leader: field("leader").first().copied(),
            last_known: field("last").first().copied(),
        };
        let describe = |election| {
            let elected = elect(&stand, election, |node| live.contains(&node));
            let mark = if elected.unclean { "!" } else { "" };
            elected.leader.map_or("-".to_owned(), |leader| format!("{leader}{mark}"))
        };
        let elections = [Election::Online, Election::Preferred, Election::Unclean];
        assert_eq!(elections.map(describe).join(" "), outcome, "{situation}");
    }

    #[test]
    fn a_valid_leader_stays_unless_the_preferred_one_is_asked_for() {
        check("replicas=1,2,3 isr=1,2,3 leader=2 live=1,2,3", "2 1 2");
        check("replicas=1,2,3 isr=2,3 leader=2 live=1,2,3", "2 2 2");
    }

    #[test]
    fn a_lost_leader_is_followed_by_the_first_in_sync_replica_that_lives() {
        check("replicas=1,2,3 isr=1,2,3 leader=1 live=2,3", "2 2 2");
        check("replicas=1,2,3 isr=3,1 leader=1 live=2,3", "3 3 3");
        check("replicas=1,2,3 isr=1,2,3 live=3", "3 3 3");
    }

    #[test]
    fn without_in_sync_replicas_an_eligible_one_leads_and_loses_nothing() {
        check("replicas=1,2,3 isr= elr=3 live=2,3", "3 3 3");
        check("replicas=1,2,3 isr= elr=1,3 live=2,3", "3 3 3");
    }

    #[test]
    fn an_eligible_replica_waits_while_anyone_is_in_sync() {
        check("replicas=1,2,3 isr=1 elr=2 live=2,3", "- - 2!");
    }

    #[test]
    fn the_last_known_leader_leads_when_nobody_else_is_clean() {
        check("replicas=1,2,3 isr= elr= last=3 live=2,3", "3! 3! 3!");
        check("replicas=1,2,3 isr= elr= last=1 live=2,3", "- - 2!");
        check("replicas=1,2,3 isr= elr=1 last=3 live=2,3", "- - 2!");
    }

    #[test]
    fn only_an_unclean_election_takes_a_replica_that_may_lack_records() {
        check("replicas=1,2,3 isr=1 leader=1 live=2,3", "- - 2!");
        check("replicas=1,2,3 isr=1 leader=1 live=", "- - -");
    }
}
