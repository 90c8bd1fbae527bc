//! One time in office: from the quorum's election to the loss of its leadership.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use model::{LeaderEpoch, Offset};
use net::task::Tasks;
use proto::metadata::MetadataRecord;
use quorum::{Quorum, QuorumStatus};
use tokio::sync::{mpsc, oneshot, watch};
use wire::messages::ResponseKind;

use crate::controller_loop::working::{Event, Working};
use crate::controller_loop::{Asked, ControllerOptions, NotController};
use crate::presence::{Gone, Presence};

/// Batches on their way to a majority at one time. More only queue before the same disks.
const IN_FLIGHT_MAX: usize = 16;
/// Requests decided into one batch.
const REQUESTS_PER_BATCH_MAX: usize = 512;
/// A batch is closed beyond it, so that answers do not wait for ever larger ones.
const RECORDS_PER_BATCH_SOFT: usize = 5_000;
/// How often sessions and balance are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Brokers whose death waits to be dealt with.
const GONE_MAX: usize = 64;

type Answers = Vec<(oneshot::Sender<Result<ResponseKind, NotController>>, ResponseKind)>;

/// A batch's way: its answers, and whether it was committed.
struct Landed {
    answers: Answers,
    outcome: Result<(), String>,
}

pub(super) struct Office {
    epoch: LeaderEpoch,
    quorum: Quorum,
    working: Working,
    in_flight: FuturesOrdered<BoxFuture<'static, Landed>>,
    presence: Presence,
    gone: mpsc::Receiver<Gone>,
    tasks: Tasks,
}

impl Office {
    /// Builds the working image from what is published. `None` when the node stops meanwhile.
    pub(super) async fn take(
        options: &ControllerOptions,
        epoch: LeaderEpoch,
        seed: u64,
        log_end: Offset,
    ) -> Option<Self> {
        let mut published = options.published.clone();
        let ready_at = options.quorum.status().borrow().high_watermark;
        let picture = published.wait_for(|picture| picture.end >= ready_at).await?;
        let (found, gone) = mpsc::channel(GONE_MAX);
        let tasks = Tasks::new();
        Some(Self {
            epoch,
            quorum: options.quorum.clone(),
            working: Working::new(options, &picture, seed, log_end),
            in_flight: FuturesOrdered::new(),
            presence: Presence::new(options.network.clone(), found, tasks.clone()),
            gone,
            tasks,
        })
    }

    /// Decides until the leadership is lost.
    pub(super) async fn hold(
        mut self,
        requests: &mut mpsc::Receiver<Asked>,
        status: &mut watch::Receiver<QuorumStatus>,
    ) {
        let bootstrap = self.working.bootstrap();
        self.append(bootstrap, Vec::new());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(brokers) = self.working.watch_list() {
                self.presence.watch(brokers);
            }
            let room = self.in_flight.len() < IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                changed = status.changed() => {
                    let lost = changed.is_err() || {
                        let now = status.borrow();
                        now.epoch != self.epoch || !now.is_leader_ready
                    };
                    if lost {
                        break;
                    }
                }
                Some(landed) = self.in_flight.next() => {
                    if !self.land(landed) {
                        break;
                    }
                }
                Some(gone) = self.gone.recv() => self.happened(Event::Gone(gone)),
                Some(first) = requests.recv(), if room => self.take_requests(first, requests),
                _ = ticks.tick(), if room => self.happened(Event::Tick),
            }
        }
        self.leave().await;
    }

    /// Decides all requests that wait, up to a batch.
    fn take_requests(&mut self, first: Asked, requests: &mut mpsc::Receiver<Asked>) {
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(asked) = next {
            if let Some(broker) = Working::heard(&asked.request) {
                self.presence.heard(broker);
            }
            let decided = self.working.decide(asked.version, &asked.request);
            records.extend(decided.records);
            answers.push((asked.answer, decided.response));
            let full = answers.len() >= REQUESTS_PER_BATCH_MAX || records.len() >= RECORDS_PER_BATCH_SOFT;
            next = if full { None } else { requests.try_recv().ok() };
        }
        self.append(records, answers);
    }

    fn happened(&mut self, event: Event) {
        let records = self.working.happened(event);
        self.append(records, Vec::new());
    }

    /// Sends a batch on its way. Answers without records wait all the same: what they say may rest
    /// on batches that are not committed yet.
    fn append(&mut self, records: Vec<MetadataRecord>, answers: Answers) {
        if records.is_empty() {
            if !answers.is_empty() {
                self.in_flight.push_back(Box::pin(std::future::ready(Landed { answers, outcome: Ok(()) })));
            }
            return;
        }
        let (quorum, epoch) = (self.quorum.clone(), self.epoch);
        // It rests on those before it: should one be refused, it must not be taken either. And broker
        // epochs are offsets.
        let base_offset = self.working.next_offset().plus(-(records.len() as i64));
        self.in_flight.push_back(Box::pin(async move {
            let outcome = quorum.append(epoch, Some(base_offset), records).await;
            Landed { answers, outcome: outcome.map(drop).map_err(|error| error.to_string()) }
        }));
    }

    /// Answers what is certain now; false when the working image can no longer be trusted.
    fn land(&mut self, landed: Landed) -> bool {
        let failed = landed.outcome.err();
        for (asker, response) in landed.answers {
            // An asker that went away needs no answer.
            let _ = asker.send(if failed.is_none() { Ok(response) } else { Err(NotController) });
        }
        if let Some(error) = &failed {
            tracing::warn!(epoch = %self.epoch, error, "controller: a batch was not committed");
        }
        failed.is_none()
    }

    /// What was not committed is unknown to its askers; the watches end.
    async fn leave(self) {
        let Self { presence, tasks, in_flight, .. } = self;
        drop(in_flight);
        drop(presence);
        tasks.ended().await;
    }
}
