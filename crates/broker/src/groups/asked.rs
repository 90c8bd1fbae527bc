//! A request on its way to shards, perhaps in parts, and the answers joined again.
//!
//! What was asked is decided when this is made; what waits is only the commit of what was
//! appended, so joining is an answer's second stage, or none where all is there.

use std::net::IpAddr;

use coordinator::{Call, Caller, Client};
use futures_util::FutureExt;
use model::{ErrorCode, Uuid};
use tokio::sync::oneshot;
use wire::messages::{RequestKind, ResponseKind, StrBytes, text};

use crate::dispatch::RequestContext;
use crate::groups::shell;
use crate::server::{Answer, Reply};

/// A part of a request that was asked, or was refused.
pub enum Asked {
    /// It was asked.
    Waiting(RequestKind, oneshot::Receiver<ResponseKind>),
    /// It is answered.
    Done(ResponseKind),
}

/// What a coordinator makes of answers.
#[derive(Clone, Copy)]
pub struct Answers {
    /// Refuses a request of its own.
    pub refuse: fn(&RequestKind, i16, ErrorCode) -> Option<ResponseKind>,
    /// Adds the answer to one part to that of another.
    pub join: fn(&mut ResponseKind, ResponseKind),
}

impl Answers {
    /// A whole request refused.
    pub fn refused(&self, request: &RequestKind, version: i16, code: ErrorCode) -> ResponseKind {
        (self.refuse)(request, version, code).expect("only what is the coordinator's is asked")
    }

    /// What came of asking one shard.
    pub fn asked(&self, version: i16, (call, asked): (Call, shell::Asked)) -> Asked {
        match asked {
            Ok(receiver) => Asked::Waiting(call.request, receiver),
            Err(code) => Asked::Done(self.refused(&call.request, version, code)),
        }
    }

    /// Joins the answers to the parts of a request, now if they are there.
    pub fn gather(
        self,
        mut asked: Vec<Asked>,
        version: i16,
        finish: impl FnOnce(ResponseKind) -> ResponseKind + Send + 'static,
    ) -> Answer {
        let mut all_there = true;
        for part in &mut asked {
            let Asked::Waiting(_, receiver) = part else { continue };
            match receiver.try_recv() {
                Ok(response) => *part = Asked::Done(response),
                Err(oneshot::error::TryRecvError::Empty) => all_there = false,
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        let joining = async move { Reply::message(finish(self.join_all(asked, version).await)) };
        if all_there {
            return Answer::Now(joining.now_or_never().expect("nothing of it waits"));
        }
        Answer::Later(Box::pin(joining))
    }

    /// Waits for the answers to the parts of a request, of which there is one at least, and joins them.
    pub async fn join_all(self, asked: Vec<Asked>, version: i16) -> ResponseKind {
        let mut joined: Option<ResponseKind> = None;
        for part in asked {
            let response = match part {
                Asked::Done(response) => response,
                // A shard that is dropped answers before; if it did not, it was no coordinator any more.
                Asked::Waiting(request, receiver) => {
                    let answer = receiver.await;
                    answer.unwrap_or_else(|_| self.refused(&request, version, ErrorCode::NotCoordinator))
                }
            };
            match &mut joined {
                None => joined = Some(response),
                Some(joined) => (self.join)(joined, response),
            }
        }
        joined.expect("a request has one part at least")
    }
}

/// A request as a shard is asked. Its shell draws the token.
pub fn call(asker: &RequestContext, chance: Uuid, request: RequestKind) -> Call {
    let client =
        Client { id: text(asker.client_id.as_deref().unwrap_or_default()), host: host_text(asker.peer.ip()) };
    Call { caller: Caller { token: shell::NO_TOKEN, version: asker.version }, client, chance, request }
}

/// An address as Kafka writes it: Java's words for one without a name.
fn host_text(address: IpAddr) -> StrBytes {
    match address.to_canonical() {
        IpAddr::V4(address) => text(&format!("/{address}")),
        IpAddr::V6(address) => {
            let parts: Vec<String> = address.segments().iter().map(|part| format!("{part:x}")).collect();
            text(&format!("/{}", parts.join(":")))
        }
    }
}
