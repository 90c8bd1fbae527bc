//! BrokerHeartbeat: a broker says that it lives, how far it is, and what it wants.
//!
//! ```text
//!              caught up                      wants to stop, leads something
//!   fenced ----------------> unfenced -------------------------------------> stopping
//!     ^  ^                    |   |                                             |
//!     |  +--- wants a fence --+   | wants to stop,          leads nothing, and  |
//!     |  +--- session expired --- | leads nothing           all others know it  |
//!     +---------------------------+---------------------------------------------+
//!                      may stop now (and is fenced)
//! ```

use std::collections::BTreeSet;

use metadata::Broker;
use model::{BrokerEpoch, DirectoryId, ErrorCode, NodeId, Offset};
use proto::metadata::MetadataRecord;
use wire::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse, from_wire_uuid};

use crate::decision::Decision;
use crate::fence::{fence, lose_directories, registration_change, shut_down, unfence};
use crate::register_broker::registered_at;
use crate::sessions::Contact;
use crate::view::View;

/// A request from a run of a broker that is not, or no longer, the registered one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleBroker {
    /// No such broker.
    #[error("No broker registration found for broker id {0}")]
    Unknown(i32),
    /// Another run is registered.
    #[error("Expected broker epoch {expected}, but got broker epoch {got}")]
    Epoch {
        /// The registered run's.
        expected: BrokerEpoch,
        /// The request's.
        got: i64,
    },
}

impl StaleBroker {
    /// What the broker is told: register again.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::StaleBrokerEpoch
    }
}

/// The registration that a request of `id` at `epoch` speaks for.
pub fn speaker<'a>(view: &View<'a>, id: i32, epoch: i64) -> Result<&'a Broker, StaleBroker> {
    let broker = view.image.broker(NodeId::new(id)).ok_or(StaleBroker::Unknown(id))?;
    if broker.epoch.get() != epoch {
        return Err(StaleBroker::Epoch { expected: broker.epoch, got: epoch });
    }
    Ok(broker)
}

/// How a broker stands after its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fenced,
    Unfenced,
    Stopping,
    MayStop,
}

/// Answers a heartbeat, and moves the broker on as it wants and may.
pub fn decide(
    view: &View<'_>,
    request: &BrokerHeartbeatRequest,
) -> Result<Decision<BrokerHeartbeatResponse>, StaleBroker> {
    let broker = speaker(view, *request.broker_id, request.broker_epoch)?;
    let (node, epoch) = (broker.id, broker.epoch);
    let caught_up = request.current_metadata_offset >= registered_at(epoch).get();
    let (now, next) = (current(broker), next(view, broker, request, caught_up));

    let mut records = Vec::new();
    if now != next {
        match next {
            Standing::Fenced | Standing::MayStop => fence(view, node, &mut records),
            Standing::Unfenced => unfence(view, node, &mut records),
            Standing::Stopping => shut_down(view, node, &mut records),
        }
    }
    let begins_to_stop = now != next && next == Standing::Stopping;
    let offline: Vec<DirectoryId> = request.offline_log_dirs.iter().copied().map(from_wire_uuid).collect();
    if !offline.is_empty() {
        lose_directories(view, node, &offline, &mut records);
    }
    cordon(view, broker, request, &mut records);
    let contact = if begins_to_stop {
        let last = i64::try_from(records.len()).expect("a batch of records is small") - 1;
        Contact::ShutsDown { broker: node, epoch, offset: view.next_offset.plus(last), at: view.now }
    } else {
        let metadata_offset = Offset::from_wire(request.current_metadata_offset);
        Contact::Heard { broker: node, epoch, metadata_offset, at: view.now }
    };
    let response = BrokerHeartbeatResponse::default()
        .with_is_caught_up(caught_up)
        .with_is_fenced(matches!(next, Standing::Fenced | Standing::MayStop))
        .with_should_shut_down(next == Standing::MayStop);
    Ok(Decision { records, response, contact: Some(contact) })
}

/// Notes which of its directories are to take no new replicas, where that changes (KIP-1066).
fn cordon(
    view: &View<'_>,
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    records: &mut Vec<MetadataRecord>,
) {
    let Some(named) = wire::cordoned::of(request) else { return };
    let named: BTreeSet<DirectoryId> = named.into_iter().map(from_wire_uuid).collect();
    let had = broker.cordoned_log_dirs.iter().flatten().copied().collect();
    if named != had && view.image.metadata_version().has_cordoned_log_dirs() {
        let named = named.into_iter().collect();
        records.push(registration_change(broker.id, broker.epoch.get(), |record| {
            record.cordoned_log_dirs = Some(named);
        }));
    }
}

/// The answer to a broker that must register again.
pub fn refuse(error: &StaleBroker) -> BrokerHeartbeatResponse {
    BrokerHeartbeatResponse::default().with_error_code(error.code().code()).with_is_fenced(true)
}

fn current(broker: &Broker) -> Standing {
    match (broker.fenced, broker.in_controlled_shutdown) {
        (true, _) => Standing::Fenced,
        (false, true) => Standing::Stopping,
        (false, false) => Standing::Unfenced,
    }
}

fn next(view: &View<'_>, broker: &Broker, request: &BrokerHeartbeatRequest, caught_up: bool) -> Standing {
    let leads = || view.leads_any(broker.id);
    match current(broker) {
        // Having begun to stop is for good: only a new registration takes it back.
        Standing::Fenced if request.want_shut_down || broker.in_controlled_shutdown => Standing::MayStop,
        Standing::Fenced if request.want_fence || !caught_up => Standing::Fenced,
        Standing::Fenced => Standing::Unfenced,
        Standing::Unfenced if request.want_fence && request.want_shut_down => Standing::MayStop,
        Standing::Unfenced if request.want_fence => Standing::Fenced,
        Standing::Unfenced if request.want_shut_down && leads() => Standing::Stopping,
        Standing::Unfenced if request.want_shut_down => Standing::MayStop,
        Standing::Unfenced => Standing::Unfenced,
        Standing::Stopping if leads() || !others_know(view, broker) => Standing::Stopping,
        Standing::Stopping | Standing::MayStop => Standing::MayStop,
    }
}

/// Whether every active broker has replayed the records that moved this one's leaderships: only then
/// does no client still get sent to it.
fn others_know(view: &View<'_>, broker: &Broker) -> bool {
    let needed = view.sessions.shutdown_offset(broker.id, broker.epoch);
    let mut active = view.image.brokers().filter(|other| !other.fenced && !other.in_controlled_shutdown);
    active.all(|other| view.sessions.metadata_offset(other.id, other.epoch) >= needed)
}

#[cfg(test)]
mod tests;
