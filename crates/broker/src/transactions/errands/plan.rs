//! Which leader is told of which marker, and what its answer says of each. Pure.

use std::collections::BTreeMap;

use coordinator::transactions::{Marked, Marker, Outcome, Place};
use metadata::Image;
use model::{ErrorCode, NodeId, PartitionIndex, ProducerId};
use wire::markers::with_transaction_version;
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse, topic};

/// Markers by whom they are for, each with the places there.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// By leader.
    pub led: BTreeMap<NodeId, Vec<Marker>>,
    /// Of partitions that have none now.
    pub leaderless: Vec<Marker>,
    /// Of partitions that the metadata does not know.
    pub unknown: Vec<Marker>,
}

impl Plan {
    /// By what the metadata says.
    pub fn of(image: &Image, markers: Vec<Marker>) -> Self {
        let mut plan = Self::default();
        for marker in markers {
            let (mut led, mut leaderless, mut unknown) = (BTreeMap::new(), Vec::new(), Vec::new());
            for place in &marker.places {
                let places: &mut Vec<Place> = match leader_of(image, place) {
                    Some(leader) => led.entry(leader).or_default(),
                    None if exists(image, place) => &mut leaderless,
                    None => &mut unknown,
                };
                places.push(place.clone());
            }
            let with = |places: Vec<Place>| Marker { places, ..marker.clone() };
            for (leader, places) in led {
                plan.led.entry(leader).or_default().push(with(places));
            }
            plan.leaderless.extend((!leaderless.is_empty()).then(|| with(leaderless)));
            plan.unknown.extend((!unknown.is_empty()).then(|| with(unknown)));
        }
        plan
    }
}

/// Who leads a partition.
pub fn leader_of(image: &Image, place: &Place) -> Option<NodeId> {
    image.topic(&place.topic)?.partition(PartitionIndex::new(place.partition))?.leader
}

/// Whether there is such a partition.
pub fn exists(image: &Image, place: &Place) -> bool {
    let topic = image.topic(&place.topic);
    topic.is_some_and(|topic| topic.partition(PartitionIndex::new(place.partition)).is_some())
}

/// The request that tells all of them.
pub fn request(markers: &[Marker]) -> WriteTxnMarkersRequest {
    let markers = markers.iter().map(|marker| {
        let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
        for place in &marker.places {
            match topics.last_mut() {
                Some(last) if last.name.as_str() == place.topic.as_ref() => {
                    last.partition_indexes.push(place.partition);
                }
                _ => topics.push(
                    WritableTxnMarkerTopic::default()
                        .with_name(topic(&place.topic))
                        .with_partition_indexes(vec![place.partition]),
                ),
            }
        }
        let written = WritableTxnMarker::default()
            .with_producer_id(marker.producer_id.get().into())
            .with_producer_epoch(marker.epoch.get())
            .with_transaction_result(marker.commit)
            .with_coordinator_epoch(marker.coordinator_epoch.get())
            .with_topics(topics);
        with_transaction_version(written, i8::try_from(marker.version).unwrap_or(0))
    });
    WriteTxnMarkersRequest::default().with_markers(markers.collect())
}

/// What an answer says of each partition of each producer. A producer has one transaction at a time, so
/// its id names the marker.
pub fn codes(answer: &WriteTxnMarkersResponse) -> BTreeMap<(ProducerId, String, i32), ErrorCode> {
    let mut codes = BTreeMap::new();
    for marker in &answer.markers {
        let producer = ProducerId::new(marker.producer_id.0);
        for topic in &marker.topics {
            for partition in &topic.partitions {
                let place = (producer, topic.name.as_str().to_owned(), partition.partition_index);
                codes.insert(place, ErrorCode::from_code(partition.error_code));
            }
        }
    }
    codes
}

/// A report for each place of each marker.
pub fn reports(markers: &[Marker], outcome: impl Fn(ProducerId, &Place) -> Outcome) -> Vec<Marked> {
    let each = markers.iter().flat_map(|marker| {
        marker.places.iter().map(|place| Marked {
            transactional_id: marker.transactional_id.clone(),
            producer_id: marker.producer_id,
            epoch: marker.epoch,
            place: place.clone(),
            outcome: outcome(marker.producer_id, place),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use metadata::{Changes, Image};
    use model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, Uuid};
    use proto::metadata::{MetadataRecord, PartitionRecord, TopicRecord};
    use wire::markers::transaction_version;
    use wire::messages::ResponseKind;

    use super::*;

    /// `t` with a partition led by 1, one led by 2 and one that nobody leads.
    fn image() -> Image {
        let topic_id = Uuid::from_u128(7);
        let partition = |partition_id, leader| -> MetadataRecord {
            let record =
                PartitionRecord { partition_id, topic_id, replicas: vec![1, 2], ..Default::default() };
            PartitionRecord { isr: vec![1, 2], leader, ..record }.into()
        };
        let topic = TopicRecord { name: "t".to_owned(), topic_id }.into();
        let (mut image, mut changes) = (Image::default(), Changes::default());
        for (offset, record) in [topic, partition(0, 1), partition(1, 2), partition(2, -1)].iter().enumerate()
        {
            let offset = Offset::new(i64::try_from(offset).expect("few"));
            image.replay(offset, record, &mut changes).expect("records in order");
        }
        image
    }

    fn marker(id: &str, producer: i64, places: &[(&str, i32)]) -> Marker {
        Marker {
            transactional_id: id.into(),
            producer_id: ProducerId::new(producer),
            epoch: ProducerEpoch::new(3),
            coordinator_epoch: LeaderEpoch::new(9),
            commit: true,
            version: 2,
            places: places.iter().map(|(topic, partition)| Place::new(topic, *partition)).collect(),
        }
    }

    fn said(markers: &[Marker]) -> String {
        let places = markers.iter().flat_map(|marker| {
            let id = &marker.transactional_id;
            marker.places.iter().map(move |place| format!("{id}:{}-{}", place.topic, place.partition))
        });
        places.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_leader_is_told_of_its_own_and_what_nobody_leads_is_set_apart() {
        let markers = vec![
            marker("x", 7, &[("t", 0), ("t", 1), ("t", 9), ("u", 0)]),
            marker("y", 8, &[("t", 0), ("t", 2)]),
        ];
        let plan = Plan::of(&image(), markers);
        let led: Vec<_> = plan.led.iter().map(|(leader, markers)| (leader.get(), said(markers))).collect();
        assert_eq!(led, [(1, "x:t-0 y:t-0".to_owned()), (2, "x:t-1".to_owned())]);
        assert_eq!(
            (said(&plan.leaderless), said(&plan.unknown)),
            ("y:t-2".to_owned(), "x:t-9 x:u-0".to_owned())
        );
        assert_eq!(leader_of(&image(), &Place::new("t", 1)), Some(NodeId::new(2)));
    }

    #[test]
    fn a_request_names_each_topic_once_and_says_the_version() {
        let request = request(&[marker("x", 7, &[("t", 0), ("t", 1), ("u", 0)])]);
        let marker = &request.markers[0];
        let topics: Vec<_> =
            marker.topics.iter().map(|it| (it.name.as_str(), it.partition_indexes.clone())).collect();
        assert_eq!(topics, [("t", vec![0, 1]), ("u", vec![0])]);
        assert_eq!((marker.producer_id.0, marker.producer_epoch, marker.coordinator_epoch), (7, 3, 9));
        assert!(marker.transaction_result);
        assert_eq!(transaction_version(marker), 2);
    }

    #[test]
    fn an_answer_is_read_for_each_partition_of_each_producer() {
        let markers = [marker("x", 7, &[("t", 0)]), marker("y", 8, &[("t", 0), ("t", 1)])];
        let answer =
            wire::errors::respond(&request(&markers).into(), 1, ErrorCode::NotLeaderOrFollower, None);
        let Some(ResponseKind::WriteTxnMarkers(mut answer)) = answer else { panic!("no answer") };
        answer.markers[1].topics[0].partitions[1].error_code = 0;
        let codes = codes(&answer);
        let outcomes = reports(&markers, |producer, place| {
            codes
                .get(&(producer, place.topic.to_string(), place.partition))
                .map_or(Outcome::Gone, |code| Outcome::of(*code))
        });
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|it| (it.transactional_id.as_ref(), it.place.partition, it.outcome))
            .collect();
        let expected = [("x", 0, Outcome::Retry), ("y", 0, Outcome::Retry), ("y", 1, Outcome::Done)];
        assert_eq!(outcomes, expected);
    }
}
