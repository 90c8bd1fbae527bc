//! Where the replicas of new partitions go.
//!
//! Racks are striped: each partition begins at the next rack and takes its replicas
//! from racks in turn, and from each rack its brokers in turn, live ones first. So
//! leaders spread evenly over the live brokers, replicas over racks, and a partition
//! has two replicas in one rack only when there are fewer racks than replicas.
//!
//! ```text
//!   rack a: 1 2   rack b: 3 4   rack c: 5 6      three replicas each
//!   p0 1 3 5      p1 3 6 1      p2 5 2 4 ...     the first is the leader
//! ```
//!
//! Brokers are dealt in an order drawn from the seed: the first partitions of many
//! small topics must not all land on the lowest ids.

use std::collections::BTreeMap;

use model::NodeId;

use crate::chance::Chance;

/// A broker that can hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// The broker.
    pub node: NodeId,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// It may hold replicas, but none can lead or be in sync there for now.
    pub fenced: bool,
}

/// Why replicas cannot be placed. The messages are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// More replicas than brokers.
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {brokers} broker(s) are registered or some \
         brokers have all their log directories cordoned."
    )]
    TooFewBrokers {
        /// Replicas asked for.
        wanted: usize,
        /// Brokers there are.
        brokers: usize,
    },
    /// Nobody could lead.
    #[error("All brokers are currently fenced, or have all their log directories cordoned.")]
    AllFenced,
}

/// One rack's brokers of one kind, dealt in turn.
#[derive(Default)]
struct Deck {
    nodes: Vec<NodeId>,
    next: usize,
}

impl Deck {
    /// The next broker that is not taken yet; the turn moves on past it.
    fn deal(&mut self, taken: &[NodeId]) -> Option<NodeId> {
        let (at, node) = self.first_free(self.next, taken)?;
        self.next = at + 1;
        Some(node)
    }

    fn first_free(&self, from: usize, taken: &[NodeId]) -> Option<(usize, NodeId)> {
        let places = (0..self.nodes.len()).map(|step| (from + step) % self.nodes.len());
        places.map(|at| (at, self.nodes[at])).find(|(_, node)| !taken.contains(node))
    }
}

#[derive(Default)]
struct Rack {
    live: Deck,
    fenced: Deck,
    /// Partitions that began here.
    led: usize,
}

impl Rack {
    fn lead(&mut self) -> NodeId {
        let leader = self.live.nodes[self.led % self.live.nodes.len()];
        self.led += 1;
        leader
    }

    /// A follower for a partition that began here. Its distance from the leader grows with every
    /// round: the followers of one leader are not always the same, so neither is its heir.
    fn follow_here(&self, taken: &[NodeId]) -> Option<NodeId> {
        let count = self.live.nodes.len();
        let (round, place) = ((self.led - 1) / count, (self.led - 1) % count);
        let distance = 1 + round % (count - 1).max(1);
        self.live.first_free(place + distance, taken).map(|(_, node)| node)
    }
}

/// Replicas for `partitions` partitions, each in preferred order. The first of each is live.
pub fn place(
    brokers: &[Usable],
    partitions: usize,
    replicas: usize,
    seed: u64,
) -> Result<Vec<Vec<NodeId>>, PlacementError> {
    if replicas > brokers.len() {
        return Err(PlacementError::TooFewBrokers { wanted: replicas, brokers: brokers.len() });
    }
    if brokers.iter().all(|broker| broker.fenced) {
        return Err(PlacementError::AllFenced);
    }
    let mut racks = shuffled_racks(brokers, seed);
    Ok((0..partitions).map(|start| place_one(&mut racks, start, replicas)).collect())
}

/// The racks with their brokers in drawn order. Racks with a live broker come first:
/// they are the ones where a partition can begin.
fn shuffled_racks(brokers: &[Usable], seed: u64) -> Vec<Rack> {
    let mut chance = Chance::new(seed);
    let mut order: Vec<&Usable> = brokers.iter().collect();
    chance.shuffle(&mut order);
    let mut racks: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
    for broker in order {
        let rack = racks.entry(broker.rack.as_deref()).or_default();
        let deck = if broker.fenced { &mut rack.fenced } else { &mut rack.live };
        deck.nodes.push(broker.node);
    }
    let mut racks: Vec<Rack> = racks.into_values().collect();
    chance.shuffle(&mut racks);
    racks.sort_by_key(|rack| rack.live.nodes.is_empty());
    racks
}

fn place_one(racks: &mut [Rack], start: usize, replicas: usize) -> Vec<NodeId> {
    let count = racks.len();
    // Racks with a live broker come first, so the round over them ends at the first without.
    let beginnings = racks.iter().take_while(|rack| !rack.live.nodes.is_empty()).count();
    let home = start % beginnings;
    let mut placed = Vec::with_capacity(replicas);
    placed.push(racks[home].lead());
    // Every round over the racks places a replica while brokers are left.
    let mut at = home;
    while placed.len() < replicas {
        at = (at + 1) % count;
        let rack = &mut racks[at];
        let live = if at == home { rack.follow_here(&placed) } else { rack.live.deal(&placed) };
        placed.extend(live.or_else(|| rack.fenced.deal(&placed)));
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use model::NodeId;
    use proptest::prelude::*;

    use super::{Usable, place};

    /// Brokers as text: `1 2@rack 3!` (fenced).
    fn brokers(text: &str) -> Vec<Usable> {
        let parse = |word: &str| {
            let fenced = word.ends_with('!');
            let (id, rack) = match word.trim_end_matches('!').split_once('@') {
                Some((id, rack)) => (id, Some(rack.to_owned())),
                None => (word.trim_end_matches('!'), None),
            };
            Usable { node: NodeId::new(id.parse().expect("an id")), rack, fenced }
        };
        text.split_whitespace().map(parse).collect()
    }

    /// Places and describes how often each broker leads and holds: `1:leads/holds`.
    fn check(text: &str, partitions: usize, replicas: usize, outcome: &str) {
        let described = match place(&brokers(text), partitions, replicas, 7) {
            Err(error) => error.to_string(),
            Ok(placed) => {
                let mut counts: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
                for replicas in &placed {
                    counts.entry(replicas[0].get()).or_default().0 += 1;
                    replicas.iter().for_each(|node| counts.entry(node.get()).or_default().1 += 1);
                }
                let words = counts.iter().map(|(id, (leads, holds))| format!("{id}:{leads}/{holds}"));
                words.collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(described, outcome);
    }

    #[test]
    fn leaders_and_replicas_spread_evenly() {
        check("1 2 3", 9, 1, "1:3/3 2:3/3 3:3/3");
        check("1 2 3", 9, 3, "1:3/9 2:3/9 3:3/9");
        check("1@a 2@a 3@b 4@b 5@c 6@c", 12, 3, "1:2/6 2:2/6 3:2/6 4:2/6 5:2/6 6:2/6");
    }

    #[test]
    fn fenced_brokers_hold_replicas_but_lead_nothing() {
        check("1 2 3!", 4, 3, "1:2/4 2:2/4 3:0/4");
        check("1@a 2@b!", 2, 2, "1:2/2 2:0/2");
    }

    #[test]
    fn live_brokers_are_taken_before_fenced_ones_of_their_rack() {
        check("1 2 3!", 4, 2, "1:2/4 2:2/4");
    }

    #[test]
    fn what_cannot_be_placed_is_said_in_kafkas_words() {
        check(
            "1 2",
            1,
            3,
            "The target replication factor of 3 cannot be reached because only 2 broker(s) are registered or some \
             brokers have all their log directories cordoned.",
        );
        check("1! 2!", 1, 1, "All brokers are currently fenced, or have all their log directories cordoned.");
        check(
            "",
            1,
            1,
            "The target replication factor of 1 cannot be reached because only 0 broker(s) are registered or some \
             brokers have all their log directories cordoned.",
        );
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_led_by_the_live_and_spread_over_racks(
            racks in prop::collection::vec((0..4usize, any::<bool>()), 1..12),
            partitions in 1..20usize,
            replicas in 1..6usize,
            seed in any::<u64>(),
        ) {
            let brokers: Vec<Usable> = racks.iter().enumerate().map(|(id, &(rack, fenced))| Usable {
                node: NodeId::new(i32::try_from(id).expect("few")),
                rack: Some(rack.to_string()),
                fenced: fenced && id > 0,
            }).collect();
            let Ok(placed) = place(&brokers, partitions, replicas, seed) else {
                prop_assert!(replicas > brokers.len());
                return Ok(());
            };
            let by_id: BTreeMap<NodeId, &Usable> = brokers.iter().map(|broker| (broker.node, broker)).collect();
            let all_racks: BTreeSet<_> = brokers.iter().map(|broker| &broker.rack).collect();
            for one in placed {
                prop_assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), replicas);
                prop_assert!(!by_id[&one[0]].fenced);
                let used: BTreeSet<_> = one.iter().map(|node| &by_id[node].rack).collect();
                prop_assert_eq!(used.len(), replicas.min(all_racks.len()));
            }
        }
    }
}
