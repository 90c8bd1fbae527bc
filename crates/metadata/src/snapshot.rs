//! The image as records, in an order that replays: a snapshot's content (KIP-630).

use model::Mutant;
use proto::metadata::{BeginTransactionRecord, MetadataRecord, MetadataVersion};

use crate::image::Image;

impl Image {
    /// The records that replay into this image from nothing, in Kafka's order. What the image's own
    /// `metadata.version` cannot say is left out, which is nothing unless that was lowered.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        self.each_record(self.metadata_version(), &mut |record| records.push(record));
        if Mutant::SnapshotIncomplete.is_planted() {
            records.retain(|record| !matches!(record, MetadataRecord::Config(_)));
        }
        records
    }

    /// The same one by one, written for any level.
    pub fn each_record(&self, level: MetadataVersion, emit: &mut dyn FnMut(MetadataRecord)) {
        self.features.records(emit);
        self.cluster.records(level, emit);
        self.topics.records(level, emit);
        self.configs.records(emit);
        self.quotas.records(emit);
        self.producer_ids.records(emit);
        self.security.records(emit);
        // A snapshot within a transaction keeps it open; Kafka takes none there.
        if let Some(transaction) = &self.transaction {
            emit(BeginTransactionRecord { name: transaction.name.clone() }.into());
            transaction.records.iter().for_each(|record| emit(MetadataRecord::clone(record)));
        }
    }
}
