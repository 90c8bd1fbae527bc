//! The image as the controller decides on it: ahead of what is committed.
//!
//! Every decision's records are replayed here at once, so that the next decision
//! sees them. A decision whose records do not replay is a fault of ours: it is
//! undone, which costs nothing with persistent maps, and its asker told so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use controller::{Decision, Sessions, Settings, View, elect_leaders};
use metadata::{Changes, Image};
use model::{ErrorCode, Millis, NodeId, Offset};
use net::Clock;
use proto::metadata::MetadataRecord;
use wire::messages::{RequestKind, ResponseKind};

use crate::controller_loop::ControllerOptions;
use crate::controller_loop::decisions::{Refused, decide};
use crate::presence::{Gone, Watched};
use crate::publish::Picture;

/// What happens without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Time passed.
    Tick,
    /// A broker's process died.
    Gone(Gone),
}

/// A request's outcome.
pub(super) struct Decided {
    pub(super) records: Vec<MetadataRecord>,
    pub(super) response: ResponseKind,
}

/// The working image and all that decisions look at.
pub(super) struct Working {
    image: Image,
    next_offset: Offset,
    sessions: Sessions,
    settings: Settings,
    clock: Arc<dyn Clock>,
    seeds: fastrand::Rng,
    bootstrap: Option<Vec<MetadataRecord>>,
    balance: Option<Round>,
    unclean: Round,
    listener: String,
    /// Some broker's registration changed since it was last asked.
    brokers_changed: bool,
    refused: Refused,
}

/// Something looked at from time to time.
struct Round {
    every: Duration,
    due: Millis,
}

impl Round {
    fn new(every: Duration, now: Millis) -> Self {
        Self { every, due: now.after(every) }
    }

    fn is_due(&self, now: Millis) -> bool {
        self.due <= now
    }

    /// Sets the next time: at once when the round was cut short.
    fn done(&mut self, now: Millis, more: bool) {
        self.due = if more { now } else { now.after(self.every) };
    }
}

impl Working {
    /// Starts from what is committed; the next record will have offset `log_end`. `seed` is another one for
    /// each office: ids drawn twice would collide.
    pub(super) fn new(options: &ControllerOptions, picture: &Picture, seed: u64, log_end: Offset) -> Self {
        let now = options.clock.now();
        let balance = options.tuning.balance_interval;
        Self {
            image: picture.image.clone(),
            next_offset: log_end.max(picture.end),
            sessions: Sessions::new(now),
            settings: options.tuning.settings.clone(),
            clock: options.clock.clone(),
            seeds: fastrand::Rng::with_seed(seed),
            bootstrap: options.bootstrap.clone(),
            balance: balance.map(|every| Round::new(every, now)),
            unclean: Round::new(options.tuning.unclean_interval, now),
            listener: options.tuning.inter_broker_listener.clone(),
            brokers_changed: true,
            refused: Refused::new(),
        }
    }

    /// What a new cluster begins with; nothing in one that has begun.
    pub(super) fn bootstrap(&mut self) -> Vec<MetadataRecord> {
        let formatted = self.bootstrap.as_deref().unwrap_or_default();
        let decision = controller::bootstrap::decide(&self.image, &self.settings, formatted);
        self.take(decision).map(|(records, ())| records).unwrap_or_default()
    }

    /// Decides one request; what follows sees its records.
    pub(super) fn decide(&mut self, version: i16, request: &RequestKind) -> Decided {
        let mut refused = std::mem::take(&mut self.refused);
        let decided = decide(&self.view(), version, request, &mut refused);
        self.refused = refused;
        let Some(decision) = decided else {
            return Decided {
                records: Vec::new(),
                response: refuse(request, version, ErrorCode::InvalidRequest),
            };
        };
        match self.take(decision) {
            Some((records, response)) => Decided { records, response },
            None => {
                let response = refuse(request, version, ErrorCode::UnknownServerError);
                Decided { records: Vec::new(), response }
            }
        }
    }

    /// Decides what follows from an event.
    pub(super) fn happened(&mut self, event: Event) -> Vec<MetadataRecord> {
        match event {
            Event::Gone(Gone { broker, epoch }) => {
                let decision = controller::gone(&self.view(), broker, epoch);
                let records = self.take(decision).map(|(records, ())| records).unwrap_or_default();
                if !records.is_empty() {
                    tracing::info!(%broker, %epoch, "controller: a broker's process is gone, it is fenced");
                }
                records
            }
            Event::Tick => self.tick(),
        }
    }

    fn tick(&mut self) -> Vec<MetadataRecord> {
        let mut all = Vec::new();
        // Each one fenced changes the image that the next is judged by; there are finitely many brokers.
        loop {
            let decision = controller::expire_one(&self.view());
            match self.take(decision) {
                Some((records, ())) if !records.is_empty() => all.extend(records),
                _ => break,
            }
        }
        let now = self.clock.now();
        if self.balance.as_ref().is_some_and(|round| round.is_due(now)) {
            let more = self.elect(elect_leaders::balance(&self.view()), &mut all);
            self.balance.as_mut().expect("it was due").done(now, more);
        }
        if self.unclean.is_due(now) {
            let more = self.elect(elect_leaders::elect_unclean(&self.view()), &mut all);
            self.unclean.done(now, more);
        }
        all
    }

    /// Takes a round of elections; whether more remain.
    fn elect(&mut self, decision: Decision<bool>, all: &mut Vec<MetadataRecord>) -> bool {
        match self.take(decision) {
            Some((records, more)) => {
                all.extend(records);
                more
            }
            None => false,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            image: &self.image,
            sessions: &self.sessions,
            settings: &self.settings,
            now: self.clock.now(),
            next_offset: self.next_offset,
            seed: self.seeds.clone().u64(..),
        }
    }

    /// Makes a decision the state that the next one starts from. `None` when it does not replay.
    fn take<R>(&mut self, decision: Decision<R>) -> Option<(Vec<MetadataRecord>, R)> {
        // The next view draws another seed.
        self.seeds.u64(..);
        if !self.replay(&decision.records) {
            return None;
        }
        if let Some(contact) = decision.contact {
            self.sessions.apply(contact);
        }
        Some((decision.records, decision.response))
    }

    /// The broker that a request tells to be alive.
    pub(super) fn heard(request: &RequestKind) -> Option<NodeId> {
        match request {
            RequestKind::BrokerHeartbeat(request) => Some(NodeId::new(request.broker_id.0)),
            RequestKind::BrokerRegistration(request) => Some(NodeId::new(request.broker_id.0)),
            _ => None,
        }
    }

    /// The offset that the next record decided will have.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The brokers whose processes are to be watched: all that may lead.
    /// Nothing when they are the same as before.
    pub(super) fn watch_list(&mut self) -> Option<BTreeMap<NodeId, Watched>> {
        if !std::mem::take(&mut self.brokers_changed) {
            return None;
        }
        let watched = self.image.brokers().filter(|broker| !broker.fenced).filter_map(|broker| {
            let endpoint = broker.listener(&self.listener).or(broker.listeners.first())?;
            let (host, port) = (endpoint.host.clone(), endpoint.port);
            Some((broker.id, Watched { epoch: broker.epoch, host, port }))
        });
        Some(watched.collect())
    }

    /// Replays what was decided. False when it cannot be: then nothing of it stays.
    fn replay(&mut self, records: &[MetadataRecord]) -> bool {
        let before = (self.image.clone(), self.next_offset);
        let mut changes = Changes::default();
        for record in records {
            if let Err(error) = self.image.replay(self.next_offset, record, &mut changes) {
                tracing::error!(%error, "controller: a decision does not replay and is dropped");
                (self.image, self.next_offset) = before;
                return false;
            }
            self.next_offset = self.next_offset.next();
        }
        self.brokers_changed |= !changes.brokers.is_empty();
        true
    }
}

fn refuse(request: &RequestKind, version: i16, code: ErrorCode) -> ResponseKind {
    wire::errors::respond(request, version, code, None).expect("every API of the table has an error response")
}
