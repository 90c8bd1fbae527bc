//! The group coordinator of this broker: requests about groups, on their way to the shards and back.
//!
//! ```text
//!   dispatch -> Groups -> admit, topics -> route -> host -> shell -> coordinator::Shard
//!                                                             |
//!                                                             +-> seat (data): append, read, watermark
//! ```
//!
//! A group lives in one partition of `__consumer_offsets`, and whoever leads that partition is its
//! coordinator. What a group may do is decided in `coordinator`; here records reach the log, and
//! answers wait until they are committed.
//!
//! Below `Groups` nothing knows what a group is: `host`, `shell` and `internal_topics` serve any
//! coordinator that keeps its state in a log ([`hosted::Hosted`]).

pub mod admit;
pub mod asked;
pub mod host;
pub mod hosted;
pub mod internal_topics;
mod offsets;
mod shard;
pub mod shell;
mod topics;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use config::{GroupsConfig, NodeConfig};
use coordinator::{Cause, Rebalanced, Route, Shard, route};
use model::{ErrorCode, Uuid};
use wire::messages::{RequestKind, ResponseKind};

use crate::data::Data;
use crate::dispatch::RequestContext;
use crate::groups::asked::{Answers, Asked};
use crate::groups::host::Host;
use crate::groups::internal_topics::InternalTopic;
use crate::groups::shell::{Shell, Terms};
use crate::publish::{Published, Step};
use crate::server::Answer;

/// Everything that groups need of this broker.
pub struct Groups {
    host: Host<Shard>,
    published: Published,
    /// How many partitions the topic will have, until it has.
    partitions: i32,
    /// Members' ids are drawn from it.
    chance: Mutex<fastrand::Rng>,
}

/// How a group coordinator's answers are made.
const ANSWERS: Answers = Answers { refuse: coordinator::refuse, join: coordinator::join };

impl Groups {
    /// The coordinator of a broker whose partitions are `data`'s.
    pub fn new(data: Arc<Data>, config: &NodeConfig, published: Published, seed: u64) -> Self {
        let GroupsConfig { topic, codec, .. } = &config.groups;
        let settings = shard::settings(&config.groups);
        let terms = Terms {
            new: Box::new(move |high_watermark, _| Shard::new(settings.clone(), high_watermark)),
            run: Box::new(|_, rebalanced| tell(&rebalanced)),
            published: published.clone(),
            codec: shard::codec(*codec),
            load_bytes: topic.load_buffer_bytes as usize,
        };
        Self {
            host: Host::new(InternalTopic::Offsets, data, terms),
            published,
            partitions: topic.partitions,
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// Follows the metadata: which partitions are led here, which topics are gone. To be called in the
    /// order of the steps, after the data plane took each.
    pub fn apply(&self, step: &Step) {
        self.host.apply(step);
    }

    /// Sends everybody who waits elsewhere, and ends.
    pub async fn stop(&self) {
        self.host.stop().await;
    }

    /// Answers a request about groups; gives back any other. What it asks of the groups is decided
    /// before this returns, so that requests of one connection keep their order.
    pub fn answer(&self, asker: &RequestContext, request: RequestKind) -> Result<Answer, Box<RequestKind>> {
        if !coordinator::is_ours(&request) {
            return Err(Box::new(request));
        }
        let version = asker.version;
        if let Err(code) = admit::admit(asker, &request) {
            return Ok(Answer::message(refused(&request, version, code)));
        }
        let picture = self.published.get();
        let (request, finish) = topics::resolve(&picture, asker, request);
        let Some(request) = request else { return Ok(Answer::message(finish.alone())) };
        let partitions = InternalTopic::Offsets.partitions(&picture.image).unwrap_or(self.partitions);
        let route = route(&request, partitions).expect("asked about above");
        if matches!(request, RequestKind::TxnOffsetCommit(_)) {
            let Route::One(partition) = route else { unreachable!("it is one group's") };
            return Ok(self.commit_in_transaction(asker, &picture, partition, request, finish));
        }
        let asked = match route {
            Route::One(partition) => vec![self.ask(asker, partition, request)],
            Route::All => self.ask_all(asker, request),
            Route::Parts(parts) if parts.is_empty() => {
                vec![Asked::Done(refused(&request, version, ErrorCode::None))]
            }
            Route::Parts(parts) => {
                parts.into_iter().map(|(partition, part)| self.ask(asker, partition, part)).collect()
            }
        };
        Ok(ANSWERS.gather(asked, version, move |response| finish.with(response, version)))
    }

    fn ask(&self, asker: &RequestContext, partition: i32, request: RequestKind) -> Asked {
        match self.host.shell(partition) {
            Some(shell) => self.ask_shell(asker, &shell, request),
            None => Asked::Done(refused(&request, asker.version, ErrorCode::NotCoordinator)),
        }
    }

    fn ask_shell(&self, asker: &RequestContext, shell: &Shell<Shard>, request: RequestKind) -> Asked {
        ANSWERS.asked(asker.version, shell.ask(asked::call(asker, self.draw(), request)))
    }

    /// Every shard that is led here; one that just went elsewhere is that one's to list.
    fn ask_all(&self, asker: &RequestContext, request: RequestKind) -> Vec<Asked> {
        let shells = self.host.shells();
        let not_here = refused(&request, asker.version, ErrorCode::NotCoordinator);
        let asked = shells.iter().map(|shell| self.ask_shell(asker, shell, request.clone()));
        let here = asked.filter(|asked| !matches!(asked, Asked::Done(done) if *done == not_here));
        let nothing = Asked::Done(refused(&request, asker.version, ErrorCode::None));
        std::iter::once(nothing).chain(here).collect()
    }

    fn draw(&self) -> Uuid {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(id) = Uuid::from_random(chance.u128(..).to_be_bytes()) {
                return id;
            }
        }
    }
}

/// A line in the node's log for each rebalance.
fn tell(Rebalanced { group, cause }: &Rebalanced) {
    let Cause { generation, member, client, reason, .. } = &**cause;
    let (member, client_id, host) = (member.as_str(), client.id.as_str(), client.host.as_str());
    tracing::info!(%group, generation, member, client_id, host, reason, "a group rebalances");
}

fn refused(request: &RequestKind, version: i16, code: ErrorCode) -> ResponseKind {
    ANSWERS.refused(request, version, code)
}
