//! The transaction coordinator of this broker: requests about transactions, on their way to the shards
//! and back, and what the shards have done elsewhere.
//!
//! ```text
//!   dispatch -> Transactions -> admit, judge -> route -> host -> shell -> coordinator::transactions::Shard
//!                                                                  |
//!                   seat (data): append, read, watermark <---------+---> errands: markers, producer ids
//! ```
//!
//! A transactional id lives in one partition of `__transaction_state`, and whoever leads that partition
//! coordinates its transactions. Shells and hosts are those of groups (`crate::groups`); here is what
//! transactions alone need. Whether a step may be taken is decided in `coordinator`.

mod admit;
mod errands;
mod hosting;
mod near;

use std::sync::Arc;

use config::NodeConfig;
use coordinator::{Route, transactions};
use metadata::Image;
use model::{ErrorCode, PartitionIndex, Uuid};
use wire::codec::Codec;
use wire::messages::{AddPartitionsToTxnResponse, RequestKind, ResponseKind};

use crate::data::Data;
use crate::dispatch::RequestContext;
use crate::groups::asked::{self, Answers, Asked};
use crate::groups::host::Host;
use crate::groups::internal_topics::InternalTopic;
use crate::groups::shell::{Shell, Terms};
use crate::handlers::view::is_internal;
use crate::peers::Peers;
use crate::publish::{Published, Step};
use crate::server::Answer;
use crate::transactions::errands::Errands;
use crate::transactions::hosting::Hosting;

/// How a transaction coordinator's answers are made.
const ANSWERS: Answers = Answers { refuse: transactions::refuse, join: transactions::join };
/// From this version on AddPartitionsToTxn is asked by brokers.
const ASKED_BY_BROKERS_FROM: i16 = 4;

/// Everything that transactions need of this broker.
pub struct Transactions {
    host: Host<Hosting>,
    errands: Arc<Errands>,
    published: Published,
    /// How many partitions the topic will have, until it has.
    partitions: i32,
    timeout_max_ms: i32,
}

impl Transactions {
    /// The coordinator of a broker whose partitions are `data`'s.
    pub fn new(data: Arc<Data>, config: &NodeConfig, published: Published, peers: Peers) -> Self {
        let topic = &config.transaction_log.topic;
        let errands = Arc::new(Errands::new(config.node_id, data.clone(), published.clone(), peers));
        let (settings, running) = (hosting::settings(config), errands.clone());
        let terms = Terms {
            new: Box::new(move |high_watermark, epoch| Hosting::new(settings.clone(), high_watermark, epoch)),
            run: Box::new(move |shell, errand| running.run(shell, errand)),
            published: published.clone(),
            codec: Codec::None,
            load_bytes: topic.load_buffer_bytes as usize,
        };
        Self {
            host: Host::new(InternalTopic::Transactions, data, terms),
            errands,
            published,
            partitions: topic.partitions,
            timeout_max_ms: config.transactions.timeout_max_ms,
        }
    }

    /// Follows the metadata: which partitions are led here. To be called in the order of the steps, after
    /// the data plane took each.
    pub fn apply(&self, step: &Step) {
        self.host.apply(step);
    }

    /// Sends everybody who waits elsewhere, and ends. Whoever coordinates next goes on with the markers.
    pub async fn stop(&self) {
        self.host.stop().await;
        self.errands.stop().await;
    }

    /// Answers a request about transactions; gives back any other. What it asks of them is decided before
    /// this returns, so that requests of one connection keep their order.
    pub fn answer(&self, asker: &RequestContext, request: RequestKind) -> Result<Answer, Box<RequestKind>> {
        if !transactions::is_ours(&request) {
            return Err(Box::new(request));
        }
        let version = asker.version;
        let wrong = admit::admit(asker, &request).err();
        if let Some(code) = wrong.or_else(|| transactions::malformed(&request, self.timeout_max_ms)) {
            return Ok(Answer::message(ANSWERS.refused(&request, version, code)));
        }
        let picture = self.published.get();
        let (request, refused) = judge(&picture.image, asker, request);
        let refused = refused.map(ResponseKind::from);
        let Some(request) = request else {
            return Ok(Answer::message(refused.expect("what is not asked is refused")));
        };
        let asked = self.ask_all_of(asker, &picture.image, request);
        let asked = refused.map(Asked::Done).into_iter().chain(asked).collect();
        Ok(ANSWERS.gather(asked, version, finish))
    }

    fn ask_all_of(&self, asker: &RequestContext, image: &Image, request: RequestKind) -> Vec<Asked> {
        let partitions = InternalTopic::Transactions.partitions(image).unwrap_or(self.partitions);
        match transactions::route(&request, partitions).expect("asked about before") {
            Route::One(partition) => vec![self.ask(asker, partition, request)],
            Route::All => self.ask_every(asker, &request),
            Route::Parts(parts) if parts.is_empty() => {
                vec![Asked::Done(ANSWERS.refused(&request, asker.version, ErrorCode::None))]
            }
            Route::Parts(parts) => {
                parts.into_iter().map(|(partition, part)| self.ask(asker, partition, part)).collect()
            }
        }
    }

    fn ask(&self, asker: &RequestContext, partition: i32, request: RequestKind) -> Asked {
        match self.host.shell(partition) {
            Some(shell) => Self::ask_shell(asker, &shell, request),
            None => Asked::Done(ANSWERS.refused(&request, asker.version, ErrorCode::NotCoordinator)),
        }
    }

    fn ask_shell(asker: &RequestContext, shell: &Shell<Hosting>, request: RequestKind) -> Asked {
        // Nobody here needs a random number.
        ANSWERS.asked(asker.version, shell.ask(asked::call(asker, Uuid::ZERO, request)))
    }

    /// Every shard that is led here; one that just went elsewhere is that one's to list.
    fn ask_every(&self, asker: &RequestContext, request: &RequestKind) -> Vec<Asked> {
        let RequestKind::ListTransactions(list) = request else { unreachable!("only lists are of all") };
        let not_here = ANSWERS.refused(request, asker.version, ErrorCode::NotCoordinator);
        let shells = self.host.shells();
        let asked = shells.iter().map(|shell| Self::ask_shell(asker, shell, request.clone()));
        let here = asked.filter(|asked| !matches!(asked, Asked::Done(done) if *done == not_here));
        let nothing = transactions::list_none(list).into();
        std::iter::once(Asked::Done(nothing)).chain(here).collect()
    }
}

/// What of a request goes on, if anything, and the answer to what does not: partitions that do not exist,
/// or that are not a client's to write to.
fn judge(
    image: &Image,
    asker: &RequestContext,
    request: RequestKind,
) -> (Option<RequestKind>, Option<AddPartitionsToTxnResponse>) {
    let RequestKind::AddPartitionsToTxn(request) = request else { return (Some(request), None) };
    let by_broker = asker.version >= ASKED_BY_BROKERS_FROM;
    let judge = |topic: &str, index: i32| {
        let found = image.topic(topic).and_then(|topic| topic.partition(PartitionIndex::new(index)));
        if !by_broker && (is_internal(topic) || !admit::may_write(asker, topic)) {
            ErrorCode::TopicAuthorizationFailed
        } else if found.is_none() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::None
        }
    };
    let (rest, refused) = transactions::judge_partitions(request, asker.version, judge);
    let says_something = rest.is_none() || !refused.results_by_transaction.is_empty();
    (rest.map(Into::into), says_something.then_some(refused))
}

/// With an error there is nothing else in a list.
fn finish(mut response: ResponseKind) -> ResponseKind {
    if let ResponseKind::ListTransactions(response) = &mut response
        && response.error_code != ErrorCode::None.code()
    {
        response.transaction_states.clear();
    }
    response
}
