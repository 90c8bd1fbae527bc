//! A million partitions must fit: at most 300 bytes of memory each (DESIGN §5), and a broker's failure
//! must find its partitions fast. Measured on 100,000, in their own process for the counting allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use kastle_metadata::{Changes, Image};
use model::{NodeId, Offset, Uuid};
use proto::metadata::{MetadataRecord, PartitionChangeRecord, PartitionRecord, TopicRecord};

/// Counts what is held.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(rounded(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(rounded(layout), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocators give whole steps of 16 bytes.
fn rounded(layout: Layout) -> isize {
    layout.size().next_multiple_of(16) as isize
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BROKERS: i32 = 10;
const PARTITIONS_A_TOPIC: i32 = 10;
const TOPICS: i32 = 10_000;

fn replay(image: &mut Image, record: MetadataRecord, changes: &mut Changes) {
    image.replay(Offset::ZERO, &record, changes).expect("it follows");
}

/// Ten thousand topics of ten partitions, three replicas each in directories of their own.
fn large() -> Image {
    let mut image = Image::default();
    for topic in 0..TOPICS {
        // Ids as spread as random ones.
        let topic_id =
            Uuid::from_u128((topic as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let name = format!("orders.region-{topic}");
        replay(&mut image, TopicRecord { name, topic_id }.into(), &mut Changes::default());
        for partition_id in 0..PARTITIONS_A_TOPIC {
            let replicas: Vec<i32> = (0..3).map(|place| (topic + partition_id + place) % BROKERS).collect();
            let record = PartitionRecord {
                partition_id,
                topic_id,
                leader: replicas[0],
                isr: replicas.clone(),
                directories: replicas.iter().map(|id| Uuid::from_u128(1000 + *id as u128)).collect(),
                replicas,
                leader_epoch: 0,
                partition_epoch: 0,
                ..PartitionRecord::default()
            };
            replay(&mut image, record.into(), &mut Changes::default());
        }
    }
    image
}

#[test]
fn a_partition_takes_at_most_300_bytes_and_a_brokers_are_found_fast() {
    let before = HELD.load(Ordering::Relaxed);
    let mut image = large();
    let held = HELD.load(Ordering::Relaxed) - before;
    let partitions = image.partition_count() as isize;
    println!("{} bytes a partition", held / partitions);
    assert!(held / partitions <= 300, "{} bytes a partition", held / partitions);

    let broker = NodeId::new(3);
    let start = Instant::now();
    let led: Vec<_> = image
        .partitions_on(broker)
        .filter(|(_, _, partition)| partition.leader == Some(broker))
        .map(|(topic, index, partition)| (topic.id, index, partition.isr[1]))
        .collect();
    assert_eq!(led.len() as isize, partitions / BROKERS as isize);
    println!("{} led by one broker, found in {:?}", led.len(), start.elapsed());

    let copy = image.clone();
    let start = Instant::now();
    let mut changes = Changes::default();
    for (topic_id, index, next) in led {
        let record = PartitionChangeRecord {
            partition_id: index.get(),
            topic_id,
            leader: next.get(),
            ..PartitionChangeRecord::default()
        };
        replay(&mut image, record.into(), &mut changes);
    }
    println!("their leaders moved in {:?}", start.elapsed());
    // Unoptimised, on a busy machine: the bound only catches a change of order.
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(copy.partitions_on(broker).filter(|(_, _, p)| p.leader == Some(broker)).count(), 10_000);
    assert_eq!(changes.partitions.len(), 10_000);
}
