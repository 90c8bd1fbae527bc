//! The session of a process that died, and what it and its coordinator had under way: it arrives in the middle of
//! its successor's transaction, once.
//!
//! Nothing but the epoch tells it from the successor's own. A batch must not be appended, and a marker must not end
//! what is open; the judges of transactions see it when one does.

use std::time::Duration;

use judge::transactions::TransactionId;
use model::ErrorCode;
use wire::api::ApiKey;
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{ProducerId as WireProducerId, ResponseKind, WriteTxnMarkersRequest, topic};

use super::{Mover, Session};
use crate::workload::client::{Key, begin, finish};
use crate::workload::record::partition;

/// The version that this project's message library speaks.
const MARKERS_VERSION: i16 = 1;

/// A session that another fenced.
pub(super) struct Ghost {
    pub(super) session: Session,
    /// What it was about.
    pub(super) transaction: TransactionId,
}

impl Mover {
    /// Lets the ghost have its say, in a partition that its successor just wrote to.
    pub(super) async fn haunt(&mut self, key: &Key) {
        let Some(mut ghost) = self.ghost.take() else { return };
        // Of a deposed coordinator.
        self.abort_late(&ghost.session, key).await;
        let values = self.draw_values();
        self.recorder.transactions(|it, _| it.sends(ghost.transaction, &partition(key), &values));
        ghost.session.next_sequence.clear();
        self.produce(&mut ghost.session, key, &values, Duration::ZERO).await;
    }

    async fn abort_late(&mut self, session: &Session, key: &Key) {
        let Some(leader) = self.client.leader(key) else { return };
        let Ok(link) = self.client.link_to(leader.node).await else { return };
        let ended =
            WritableTxnMarkerTopic::default().with_name(topic(&key.0)).with_partition_indexes(vec![key.1]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(WireProducerId(session.id.get()))
            .with_producer_epoch(session.epoch.get())
            .with_transaction_result(false)
            .with_topics(vec![ended]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let Some(version) = link.version(ApiKey::WriteTxnMarkers, MARKERS_VERSION, MARKERS_VERSION) else {
            return;
        };
        let answer = finish(begin(&link, version, request, self.client.request_timeout)).await;
        let Ok(ResponseKind::WriteTxnMarkers(answer)) = answer else { return };
        let codes = answer.markers.iter().flat_map(|it| &it.topics).flat_map(|it| &it.partitions);
        for told in codes {
            self.recorder.refused_unless_ok(ErrorCode::from_code(told.error_code));
        }
    }
}
