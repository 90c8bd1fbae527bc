//! Producer ids: where the next block of them begins.

use model::ProducerId;
use proto::metadata::{MetadataRecord, ProducerIdsRecord};

use crate::changes::Changes;
use crate::error::ReplayError;

/// The first producer id not handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerIds {
    next: Option<ProducerId>,
}

impl ProducerIds {
    pub(crate) fn next(&self) -> ProducerId {
        self.next.unwrap_or_default()
    }

    /// An id handed out twice would join the sequences of two producers, so it never goes back.
    pub(crate) fn advance(
        &mut self,
        record: &ProducerIdsRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let next = ProducerId::new(record.next_producer_id);
        if next < self.next() {
            let what = "the next producer id".to_owned();
            let (had, got) = (self.next().get(), next.get());
            return Err(ReplayError::Stale { record: "ProducerIdsRecord", what, had, got });
        }
        self.next = Some(next);
        changes.producer_ids = true;
        Ok(())
    }

    /// Who got the last block is forgotten, as Kafka forgets it.
    pub(crate) fn records(&self, emit: &mut dyn FnMut(MetadataRecord)) {
        if let Some(next) = self.next {
            let record = ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id: next.get() };
            emit(record.into());
        }
    }
}
