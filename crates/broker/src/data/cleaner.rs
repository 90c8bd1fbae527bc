//! Compaction by the clock: which log is cleaned next, how fast, and what when one cannot be.
//!
//! One task for all logs. It cleans the dirtiest log that is worth it, several at a time
//! where `log.cleaner.threads` says so, and sleeps when there is none. A log that cannot
//! be cleaned is named, left alone for a while and tried again; the others go on. What
//! was cleaned is written to `cleaner-offset-checkpoint`, as Kafka does.

mod offsets;
mod pace;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::CleanerConfig;
use futures_util::stream::{FuturesUnordered, StreamExt};
use log::cleaner::{Cleanable, CleaningLimits};
use model::{Millis, Offset, Timestamp};

use crate::data::cleaner::offsets::CleanedOffsets;
use crate::data::cleaner::pace::Pace;
use crate::data::cleaner::work::Outcome;
use crate::data::partition::{Key, Partition, State};
use crate::data::plane::Plane;
use crate::data::settings::SettingsSource;

/// A log that cannot be cleaned is tried again, and named again, after so long.
const BARRED: Duration = Duration::from_secs(3_600);
/// A disk may have room again after so long.
const FULL: Duration = Duration::from_secs(60);
/// As much of a log is read in one step at least, and at most.
const STEP_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=8 << 20;
/// A backoff of nothing must not keep a processor busy.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// What the task remembers.
struct Cleaner {
    plane: Arc<Plane>,
    offsets: CleanedOffsets,
    /// Logs under way, and those to be left alone until then.
    resting: BTreeMap<Key, Option<Millis>>,
    pace: Arc<Pace>,
}

/// Runs until the node stops.
pub async fn run(plane: Arc<Plane>) {
    let mut applied = plane.applied.subscribe();
    tokio::select! {
        biased;
        // Before, nobody knows which logs are whose.
        known = applied.wait_for(|applied| *applied > Offset::ZERO) => if known.is_err() { return },
        () = plane.stop.cancelled() => return,
    }
    let mut cleaner = Cleaner::new(plane.clone());
    let mut working = FuturesUnordered::new();
    while !plane.stop.is_cancelled() {
        let config = cleaner.config();
        cleaner.pace.set(config.bytes_per_second);
        while config.enabled && working.len() < config.threads as usize {
            let Some((partition, from)) = cleaner.choose().await else { break };
            cleaner.resting.insert(partition.key, None);
            working.push(work::clean(plane.clone(), partition, from, limits(&config), cleaner.pace.clone()));
        }
        tokio::select! {
            biased;
            Some((partition, outcome)) = working.next() => cleaner.take(&partition, outcome).await,
            () = tokio::time::sleep(config.backoff.max(BACKOFF_MIN)) => {}
            () = plane.stop.cancelled() => {}
        }
    }
    // Each ends with the step that it is at.
    while let Some((partition, outcome)) = working.next().await {
        cleaner.take(&partition, outcome).await;
    }
}

fn limits(config: &CleanerConfig) -> CleaningLimits {
    let buffer = config.buffer_bytes / config.threads.max(1) / 2;
    CleaningLimits {
        map_bytes: usize::try_from(config.dedupe_bytes_each()).unwrap_or(usize::MAX),
        load_factor: config.load_factor,
        step_bytes: (buffer as usize).clamp(*STEP_BYTES.start(), *STEP_BYTES.end()),
    }
}

impl Cleaner {
    fn new(plane: Arc<Plane>) -> Self {
        let offsets = CleanedOffsets::read(&plane);
        Self { plane, offsets, resting: BTreeMap::new(), pace: Arc::default() }
    }

    fn config(&self) -> CleanerConfig {
        let options = &self.plane.options;
        SettingsSource::cleaner(options.node, &options.config, &options.published.get().image)
    }

    /// The dirtiest of the logs that are worth a pass, and how far it was cleaned before.
    async fn choose(&mut self) -> Option<(Arc<Partition>, Option<Offset>)> {
        let now = self.plane.options.clock.now();
        let partitions = self.plane.partitions();
        self.offsets.follow(&partitions);
        self.resting.retain(|_, until| until.is_none_or(|until| until > now));
        let wanted = |partition: &Arc<Partition>| {
            !self.resting.contains_key(&partition.key) && partition.look().settings.topic.cleanup.compact
        };
        let asked: Vec<_> = partitions
            .into_iter()
            .filter(wanted)
            .map(|partition| (self.offsets.of(partition.key), partition))
            .collect();
        if asked.is_empty() {
            return None;
        }
        let wall = self.plane.options.clock.wall();
        let survey = move || {
            let looked = asked.into_iter().map(|(from, partition)| {
                let found = survey_one(&partition, from, wall);
                (partition, from, found)
            });
            looked.collect::<Vec<_>>()
        };
        let mut dirtiest: Option<(Arc<Partition>, Option<Offset>, f64)> = None;
        for (partition, from, found) in self.plane.options.blocking.run(survey).await {
            match found {
                Ok(Some(ratio)) if dirtiest.as_ref().is_none_or(|best| ratio > best.2) => {
                    dirtiest = Some((partition, from, ratio));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(partition = %partition.name, %error, "a compacted log cannot be read");
                    self.resting.insert(partition.key, Some(now.after(BARRED)));
                }
            }
        }
        dirtiest.map(|(partition, from, _)| (partition, from))
    }

    /// What became of a pass.
    async fn take(&mut self, partition: &Arc<Partition>, outcome: Outcome) {
        let now = self.plane.options.clock.now();
        let rest = match outcome {
            Outcome::Cleaned { to } => {
                let has_moved = self.offsets.of(partition.key) != Some(to);
                self.offsets.set(partition, to);
                self.offsets.write(&self.plane).await;
                if has_moved { None } else { Some(self.config().backoff.max(BACKOFF_MIN)) }
            }
            // Its log went another way, or the node stops.
            Outcome::Left => Some(self.config().backoff.max(BACKOFF_MIN)),
            Outcome::Full => Some(FULL),
            Outcome::Barred => Some(BARRED),
        };
        match rest {
            Some(rest) => self.resting.insert(partition.key, Some(now.after(rest))),
            None => self.resting.remove(&partition.key),
        };
    }
}

/// The share of a log that is dirty, if the log is worth a pass.
fn survey_one(
    partition: &Partition,
    from: Option<Offset>,
    wall: Timestamp,
) -> Result<Option<f64>, log::LogError> {
    let mut state = partition.look();
    let ratio_min = state.settings.topic.cleanable_ratio_min;
    let found = look(&mut state, from, wall)?;
    Ok(found.filter(|found| found.is_due(ratio_min)).map(|found| found.dirty_ratio()))
}

/// What there is to clean, if the topic is compacted and its log is in use.
fn look(
    state: &mut State,
    from: Option<Offset>,
    wall: Timestamp,
) -> Result<Option<Cleanable>, log::LogError> {
    let high_watermark = state.replica.high_watermark();
    let (Some(rules), Some(log)) = (state.settings.compaction(), &mut state.log) else { return Ok(None) };
    let stable = log.last_stable(high_watermark);
    log.cleanable(&rules, from, stable, wall).map(Some)
}
