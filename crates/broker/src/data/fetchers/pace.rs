//! The bound on what followers fetch for replicas that are being moved (KIP-73).
//!
//! While the bound is overdrawn, partitions that it is for are left out of the requests.
//! Those in sync are not: without them the leader could commit nothing. Where the disk has too
//! little room, all wait but the node's own topics.

use model::Millis;

use crate::data::fetchers::Followed;
use crate::data::fetchers::ask::Asked;
use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;

/// Until when a partition is left out: after an error, because too much was fetched already, or for want
/// of room.
pub(super) fn rests_until(plane: &Plane, pause: Option<Millis>, followed: &Followed) -> Option<Millis> {
    let pause = pause
        .filter(|_| is_throttled(plane, &followed.partition) && !is_in_sync(plane, followed.partition.key));
    let room = plane.rooms.replica_waits_until(plane.options.clock.now(), &followed.partition);
    followed.not_before.max(pause).max(room)
}

/// Counts what an answer brought.
pub(super) fn spend<'a>(plane: &Plane, brought: impl Iterator<Item = (&'a Asked, usize)>) {
    let throttle = &plane.throttles.follower;
    if throttle.is_limited() {
        let counted = brought.filter(|(asked, bytes)| *bytes > 0 && is_throttled(plane, &asked.partition));
        throttle.spend(plane.options.clock.now(), counted.map(|(_, bytes)| bytes).sum());
    }
}

fn is_throttled(plane: &Plane, partition: &Partition) -> bool {
    let (topic, index) = partition.key;
    let picture = plane.options.published.get();
    let known = picture.image.partition(topic, index);
    let is_added = known.is_some_and(|known| known.adding.contains(&plane.options.node));
    partition.look().settings.throttled_followers.holds(index, is_added)
}

fn is_in_sync(plane: &Plane, (topic, index): Key) -> bool {
    let picture = plane.options.published.get();
    picture.image.partition(topic, index).is_some_and(|known| known.isr.contains(&plane.options.node))
}
