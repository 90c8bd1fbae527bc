//! What divisions look like, and what holds of all of them.

use fastrand::Rng;
use model::Uuid;
use proptest::prelude::*;

use super::*;

/// Topics are letters, `a` is number 1.
fn topic(name: char) -> TopicId {
    Uuid::from_u128(u128::from(u32::from(name) - u32::from('a') + 1))
}

fn letter(topic: TopicId) -> char {
    char::from(topic.as_bytes()[15] - 1 + b'a')
}

/// `a0,a1,b3` as parts.
fn parse(text: &str) -> Parts {
    let mut parts = Parts::new();
    for place in text.split(',').filter(|place| !place.is_empty()) {
        let name = place.chars().next().expect("a topic");
        parts.entry(topic(name)).or_default().insert(place[1..].parse().expect("a partition"));
    }
    parts
}

fn tell(parts: &Parts) -> String {
    let places = parts.iter().flat_map(|(&topic, partitions)| {
        partitions.iter().map(move |partition| format!("{}{partition}", letter(topic)))
    });
    places.collect::<Vec<_>>().join(",")
}

/// Topics as `a:3 b:2`, members as `m reads=ab had=a0,a1 instance=i`, one a line.
fn task(topics: &str, members: &[&str]) -> Task {
    let partitions = topics.split(' ').map(|text| {
        let (name, count) = text.split_once(':').expect("a topic and its partitions");
        (topic(name.chars().next().expect("a letter")), count.parse().expect("a count"))
    });
    let reader = |line: &&str| {
        let (id, rest) = line.split_once(' ').expect("a member and what it reads");
        let value = |key: &str| {
            rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
        };
        let reader = Reader {
            instance: Some(value("instance").to_owned()).filter(|text| !text.is_empty()),
            topics: Arc::new(value("reads").chars().map(topic).collect()),
            had: Arc::new(parse(value("had"))),
        };
        (Id::from(id), reader)
    };
    Task { readers: members.iter().map(reader).collect(), partitions: partitions.collect() }
}

#[track_caller]
fn divides(assignor: &str, topics: &str, members: &[&str], expected: &str) {
    let parts = assign(assignor, &task(topics, members));
    let told: Vec<String> = parts.iter().map(|(id, parts)| format!("{id}={}", tell(parts))).collect();
    assert_eq!(told.join(" "), expected);
}

#[test]
fn range_cuts_each_topic_into_runs() {
    divides("range", "a:5 b:2", &["m reads=ab", "n reads=ab"], "m=a0,a1,a2,b0 n=a3,a4,b1");
    divides("range", "a:1 b:1", &["m reads=ab", "n reads=ab"], "m=a0,b0 n=");
    divides("range", "a:4 b:4", &["m reads=ab", "n reads=b"], "m=a0,a1,a2,a3,b0,b1 n=b2,b3");
}

#[test]
fn range_keeps_static_members_in_the_order_of_their_instances() {
    let members = ["m reads=a instance=z", "n reads=a", "o reads=a instance=y"];
    divides("range", "a:3", &members, "m=a1 n=a2 o=a0");
}

#[test]
fn uniform_gives_everybody_as_many_give_or_take_one() {
    divides("uniform", "a:3 b:2", &["m reads=ab", "n reads=ab"], "m=a0,a1,a2 n=b0,b1");
    divides("uniform", "a:1", &["m reads=a", "n reads=a"], "m=a0 n=");
    divides("uniform", "a:0", &["m reads=a"], "m=");
}

#[test]
fn uniform_lets_members_keep_what_they_have() {
    let members = ["m reads=a", "n reads=a had=a0,a1,a2,a3"];
    divides("uniform", "a:5", &members, "m=a3,a4 n=a0,a1,a2");
    let members = ["m reads=a had=a0", "n reads=a had=a1,a2", "o reads=a had=a3"];
    divides("uniform", "a:4", &members, "m=a0 n=a1,a2 o=a3");
}

#[test]
fn what_two_had_and_what_is_gone_is_had_by_one_or_nobody() {
    let members = ["m reads=a had=a0,a1,a9,c0", "n reads=a had=a1,a2"];
    divides("uniform", "a:3", &members, "m=a0,a1 n=a2");
}

#[test]
fn uniform_evens_out_among_readers_of_different_topics() {
    divides("uniform", "a:4 b:2", &["m reads=ab", "n reads=b"], "m=a0,a1,a2,a3 n=b0,b1");
    let members = ["m reads=ab had=b0,b1", "n reads=b"];
    divides("uniform", "a:4 b:2", &members, "m=a0,a1,a2,a3 n=b0,b1");
    divides("uniform", "a:2", &["m reads=a", "n reads="], "m=a0,a1 n=");
}

#[test]
fn nobody_gets_nothing_of_nothing() {
    for assignor in KNOWN {
        assert!(assign(assignor, &Task::default()).is_empty());
        divides(assignor, "a:3", &["m reads=", "n reads="], "m= n=");
    }
}

/// Up to 8 members of up to 5 topics, alike or not, with what they were to have before.
fn random_task(random: &mut Rng, alike: bool) -> Task {
    let partitions: BTreeMap<TopicId, i32> =
        "abcde".chars().map(|name| (topic(name), random.i32(0..9))).collect();
    let choose = |random: &mut Rng| -> Topics {
        Arc::new(partitions.keys().copied().filter(|_| random.bool()).collect())
    };
    let same = choose(random);
    let mut readers = BTreeMap::new();
    for number in 0..random.usize(1..9) {
        let topics = if alike { same.clone() } else { choose(random) };
        let instance = random.bool().then(|| format!("i{number}"));
        readers.insert(Id::from(format!("m{number}")), Reader { instance, topics, had: Arc::default() });
    }
    Task { readers, partitions }
}

fn loads(parts: &BTreeMap<Id, Parts>) -> Vec<usize> {
    parts.values().map(|own| own.values().map(BTreeSet::len).sum()).collect()
}

fn moved(task: &Task, parts: &BTreeMap<Id, Parts>) -> usize {
    let kept = |(id, reader): (&Id, &Reader)| {
        let own = &parts[id];
        let is_kept =
            |topic: &TopicId, partition: &i32| own.get(topic).is_some_and(|own| own.contains(partition));
        reader
            .had
            .iter()
            .map(|(topic, all)| all.iter().filter(|one| !is_kept(topic, one)).count())
            .sum::<usize>()
    };
    task.readers.iter().map(kept).sum()
}

/// Divides, lets members come and go, and divides again: [`super::check`] sees each.
fn live(seed: u64, alike: bool, assignor: &str) {
    let mut random = Rng::with_seed(seed);
    let mut task = random_task(&mut random, alike);
    for _ in 0..6 {
        let parts = assign(assignor, &task);
        for (id, own) in &parts {
            task.readers.get_mut(id).expect("a member").had = Arc::new(own.clone());
        }
        let again = assign(assignor, &task);
        if alike && assignor == "uniform" {
            let loads = loads(&parts);
            let (least, most) = (loads.iter().min().expect("some"), loads.iter().max().expect("some"));
            assert!(most - least <= 1, "{loads:?}");
        }
        assert_eq!(again, parts, "nothing changed, and something moved");
        let before = task.readers.len();
        if random.bool() && before > 1 {
            task.readers.pop_last();
            let after = assign(assignor, &task);
            if alike && assignor == "uniform" {
                assert_eq!(moved(&task, &after), 0, "who stays keeps all when somebody goes");
            }
        } else {
            let topics = task.readers.values().next().expect("some").topics.clone();
            let reader = Reader { instance: None, topics, had: Arc::default() };
            task.readers.insert(Id::from(format!("n{}", random.u32(..))), reader);
            let after = assign(assignor, &task);
            if alike && assignor == "uniform" {
                let least = loads(&after).into_iter().max().expect("some");
                assert!(moved(&task, &after) <= least, "only what the newcomer gets may move");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_goes_to_one_reader_and_stays_there(seed in any::<u64>(), alike in any::<bool>()) {
        for assignor in KNOWN {
            live(seed, alike, assignor);
        }
    }
}
