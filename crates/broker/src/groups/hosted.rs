//! What a shell hosts: a coordinator's state machine over the records of one partition.
//!
//! The group coordinator's [`coordinator::Shard`] is one, that of transactions another; whatever
//! else keeps its state in a compacted topic and answers when its records are committed can be one.
//!
//! Loading comes first, then turns: each gives records to append as one batch, and hears
//! whether they were. Answers are taken out after each call, and errands: what a coordinator has
//! done elsewhere, and hears of through [`Shell::tell`](crate::groups::shell::Shell::tell).

use std::sync::Arc;

use coordinator::{AppendFailure, Call, Now, Record, Reply};
use model::{Millis, Offset};
use wire::batch::{self, BatchHeader};

use crate::publish::Picture;

/// A shard of a coordinator.
pub trait Hosted: Send + 'static {
    /// What it has done elsewhere.
    type Errand: Send + 'static;

    /// Why a record of the log cannot be taken in.
    type ReplayError: std::error::Error + Send + 'static;

    /// Shows it the metadata, before it is loaded and before a turn that may follow a change of it.
    fn see(&mut self, picture: &Arc<Picture>);

    /// Takes in a record of the log, in the log's order, with the header of its batch.
    fn replay(&mut self, header: &BatchHeader, record: &batch::Record<'_>) -> Result<(), Self::ReplayError>;

    /// All is replayed.
    fn loaded(&mut self, now: Now);

    /// Decides a request; `None` when it is not of its kind.
    fn handle(&mut self, now: Now, call: &Call) -> Option<Vec<Record>>;

    /// When [`Hosted::tick`] has something to do.
    fn next_deadline(&self) -> Option<Millis>;

    /// Does what is due; asked again until it gives nothing.
    fn tick(&mut self, now: Now) -> Vec<Record>;

    /// Forgets a topic that is no more; asked again until it gives nothing.
    fn forget_topic(&mut self, now: Now, topic: &str) -> Vec<Record>;

    /// The records are in the log, the last of them at `last`.
    fn appended(&mut self, last: Offset);

    /// The records are not in the log, and never will be.
    fn append_failed(&mut self, failure: AppendFailure);

    /// Everything below `high_watermark` is committed.
    fn committed(&mut self, now: Now, high_watermark: Offset);

    /// The answers that may go out.
    fn replies(&mut self) -> Vec<Reply>;

    /// What is to be done elsewhere.
    fn errands(&mut self) -> Vec<Self::Errand>;

    /// The partition is led elsewhere: the last answers.
    fn resign(self) -> Vec<Reply>;
}
