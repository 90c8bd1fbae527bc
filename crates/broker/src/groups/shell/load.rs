//! Loading a shard: its partition's log from beginning to end, some megabytes at a time.
//!
//! Nobody else appends to the partition while it is loaded, so the log's end stands still. What
//! lies above the high watermark is replayed too: it is in this leader's log and will be committed.

use std::time::Duration;

use log::AppendError;
use model::Offset;
use tokio::time::Instant;
use wire::batch::{BatchError, Batches, RecordError};
use wire::codec::CodecError;

use crate::data::SeatError;
use crate::groups::hosted::Hosted;
use crate::groups::shell::Shell;

/// The records of one batch may decompress to as much.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// Others may have waited since so many records were replayed: a millisecond or less.
const RECORDS_AT_ONCE: u64 = 2_000;
/// How often a long load says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Why a shard cannot be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError<E> {
    #[error(transparent)]
    Seat(#[from] SeatError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Replay(E),
    #[error("the log holds nothing at offset {at}, below its end at {end}")]
    Hole { at: Offset, end: Offset },
}

impl<H: Hosted> Shell<H> {
    /// The shard with all that its log holds; `None` when it cannot be had. Then the partition stays
    /// without a coordinator until somebody else leads it, as with Kafka.
    pub(super) async fn load(&self) -> Option<H> {
        let began = Instant::now();
        let (partition, epoch) = (self.seat.name(), self.seat.epoch());
        match self.replay_all().await {
            Ok(Some((hosted, records))) => {
                let millis = began.elapsed().as_millis();
                tracing::info!(%partition, %epoch, records, millis, "loaded");
                Some(hosted)
            }
            Ok(None) | Err(LoadError::Seat(SeatError::Deposed(_))) => None,
            Err(error) => {
                tracing::error!(
                    %partition, %epoch, %error,
                    "what lives in this partition is not served: it cannot be loaded"
                );
                None
            }
        }
    }

    async fn replay_all(&self) -> Result<Option<(H, u64)>, LoadError<H::ReplayError>> {
        let Some(extent) = self.seat.extent() else { return Ok(None) };
        let mut hosted = (self.terms.new)(extent.high_watermark, self.seat.epoch());
        hosted.see(&self.terms.published.get());
        let (mut at, mut records) = (extent.start, 0);
        let mut report_at = Instant::now() + REPORT_INTERVAL;
        while at < extent.end {
            let Some(bytes) = self.seat.read(at, self.terms.load_bytes).await? else {
                // Compaction may have emptied the log's end.
                break;
            };
            let next = replay(&mut hosted, &bytes, at, &mut records).await?;
            if next <= at {
                return Err(LoadError::Hole { at, end: extent.end });
            }
            at = next;
            if Instant::now() >= report_at {
                report_at = Instant::now() + REPORT_INTERVAL;
                let (partition, end) = (self.seat.name(), extent.end);
                tracing::info!(%partition, records, %at, %end, "loading");
            }
            tokio::task::yield_now().await;
        }
        Ok(Some((hosted, records)))
    }
}

/// Replays whole batches from `from` on; where they end.
async fn replay<H: Hosted>(
    hosted: &mut H,
    bytes: &[u8],
    from: Offset,
    count: &mut u64,
) -> Result<Offset, LoadError<H::ReplayError>> {
    let mut next = from;
    let mut pause_at = *count + RECORDS_AT_ONCE;
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        for record in batch.records(DECOMPRESSED_BYTES_MAX)?.iter() {
            let record = record?;
            if record.offset >= from {
                hosted.replay(&batch.header, &record).map_err(LoadError::Replay)?;
                *count += 1;
            }
        }
        next = batch.header.next_offset();
        if *count >= pause_at {
            pause_at = *count + RECORDS_AT_ONCE;
            tokio::task::yield_now().await;
        }
    }
    Ok(next)
}

impl<E> From<AppendError> for LoadError<E> {
    fn from(error: AppendError) -> Self {
        Self::Seat(SeatError::Log(error))
    }
}
