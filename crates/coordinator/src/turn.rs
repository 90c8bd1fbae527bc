//! One turn: a request or a timer at work on the shard's copy, and what comes of it.

use std::sync::Arc;

use model::{ErrorCode, Millis, ProducerId};
use proto::EncodeError;
use wire::messages::{JoinGroupResponse, ResponseKind, StrBytes, SyncGroupResponse};

use crate::alarm::{Alarms, Subject};
use crate::call::{Caller, Now, Reply};
use crate::cause::Rebalanced;
use crate::classic;
use crate::cluster::Cluster;
use crate::consumer::{self, Watched};
use crate::group::Group;
use crate::hard::{Hard, Written};
use crate::offsets::{Committed, OffsetKey, Offsets};
use crate::record::{Entry, Record};
use crate::refusal::Refusal;
use crate::settings::Settings;
use imbl::OrdMap;

/// Everything a shard knows but who waits for a commit; a copy costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Core {
    /// What the log says.
    pub hard: Hard,
    /// Groups as they are now, those with nothing but offsets too.
    pub groups: OrdMap<Arc<str>, Group>,
    /// What is due when.
    pub alarms: Alarms,
}

/// A turn in the making.
pub(crate) struct Turn<'a> {
    pub now: Now,
    pub settings: &'a Settings,
    /// The cluster as it was when the turn began.
    pub cluster: &'a dyn Cluster,
    pub core: &'a mut Core,
    /// Offsets up to the high watermark.
    pub committed: &'a Offsets,
    pub records: Vec<Record>,
    pub replies: Vec<Reply>,
    /// Rebalances that began.
    pub rebalanced: Vec<Rebalanced>,
    /// The answers may tell of what earlier turns appended, so they wait for that as well.
    pub behind_all: bool,
    /// A record that has no bytes: the whole turn is undone.
    pub unwritable: Option<EncodeError>,
}

/// A moment within a turn: a decision that is refused half way leaves nothing behind.
pub(crate) struct Mark {
    core: Core,
    records: usize,
    replies: usize,
    rebalanced: usize,
}

impl Turn<'_> {
    /// Where the turn stands.
    pub fn mark(&self) -> Mark {
        Mark {
            core: self.core.clone(),
            records: self.records.len(),
            replies: self.replies.len(),
            rebalanced: self.rebalanced.len(),
        }
    }

    /// As if nothing had been done since.
    pub fn go_back_to(&mut self, mark: Mark) {
        *self.core = mark.core;
        self.records.truncate(mark.records);
        self.replies.truncate(mark.replies);
        self.rebalanced.truncate(mark.rebalanced);
    }

    /// Answers.
    pub fn reply(&mut self, caller: Caller, response: impl Into<ResponseKind>) {
        self.replies.push(Reply { token: caller.token, response: response.into() });
    }

    /// Answers a JoinGroup with an error.
    pub fn refuse_join(&mut self, caller: Caller, code: ErrorCode, member: &StrBytes) {
        self.reply(caller, refused_join(caller.version, code, member.clone()));
    }

    /// Answers a SyncGroup with an error.
    pub fn refuse_sync(&mut self, caller: Caller, code: ErrorCode) {
        self.reply(caller, SyncGroupResponse::default().with_error_code(code.code()));
    }

    /// Writes a record, and takes it in.
    pub fn write(&mut self, entry: Entry) {
        match entry.to_record() {
            Ok(record) => {
                self.records.push(record);
                self.core.hard.replay(entry);
            }
            Err(error) => self.unwritable = Some(error),
        }
    }

    /// Writes an offset that waits for the end of its producer's transaction, and takes it in.
    pub fn write_pending(&mut self, producer: ProducerId, key: OffsetKey, committed: Committed) {
        match Entry::Offset(key.clone(), Some(committed.clone())).to_record() {
            Ok(record) => {
                self.records.push(record);
                self.core.hard.replay_pending(producer, key, committed);
            }
            Err(error) => self.unwritable = Some(error),
        }
    }

    /// A classic group to work on; [`Turn::put`] takes it back.
    pub fn classic(&self, id: &str) -> Option<classic::Group> {
        match self.core.groups.get(id) {
            Some(Group::Classic(group)) => Some(classic::Group::clone(group)),
            _ => None,
        }
    }

    /// The group is this from now on.
    pub fn put(&mut self, id: &Arc<str>, group: classic::Group) {
        group.check();
        self.core.groups.insert(id.clone(), Group::Classic(Arc::new(group)));
    }

    /// What is written of a group of the new protocol; an empty one when nothing is.
    pub fn consumer_group(&self, id: &str) -> Arc<consumer::Group> {
        match self.core.hard.group(id) {
            Some(Written::Consumer(group)) => group.clone(),
            _ => Arc::default(),
        }
    }

    /// A group of the new protocol to work on; [`Turn::put_consumer`] takes it back.
    pub fn consumer(&self, id: &str) -> Option<Watched> {
        match self.core.groups.get(id) {
            Some(Group::Consumer(watched)) => Some(Watched::clone(watched)),
            _ => None,
        }
    }

    /// The same, for a member that says it is in there.
    pub fn known_consumer(&self, id: &str) -> Result<Watched, Refusal> {
        match self.core.groups.get(id) {
            Some(Group::Consumer(watched)) => Ok(Watched::clone(watched)),
            Some(Group::Classic(_)) => Err(Refusal::NotConsumer { group: id.to_owned() }),
            None => Err(Refusal::GroupIdNotFound { group: id.to_owned() }),
        }
    }

    /// The same, for a member that joins: it may begin a group, and takes the place of an empty classic one.
    pub fn consumer_to_join(&mut self, id: &Arc<str>) -> Result<Watched, Refusal> {
        match self.core.groups.get(id.as_ref()) {
            None => Ok(Watched::default()),
            Some(Group::Consumer(watched)) => Ok(Watched::clone(watched)),
            Some(Group::Classic(group)) if group.is_empty() => {
                let watched = Watched::after(group.causes.clone());
                self.delete(id);
                Ok(watched)
            }
            Some(Group::Classic(group)) => {
                let group = group.clone();
                consumer::upgrade::convert(self, id, &group)
            }
        }
    }

    /// The group is this from now on, and what is written of it; nothing when nothing is.
    pub fn put_consumer(&mut self, id: &Arc<str>, watched: Watched) {
        match self.core.hard.group(id) {
            Some(Written::Consumer(group)) => {
                let mut watched = watched;
                watched.group = group.clone();
                self.core.groups.insert(id.clone(), Group::Consumer(Arc::new(watched)));
            }
            _ => {
                if let Some(Group::Consumer(_)) = self.core.groups.get(id.as_ref()) {
                    self.core.groups.remove(id.as_ref());
                }
            }
        }
    }

    /// Deletes a group and what the log says of it; its offsets are another matter.
    pub fn delete(&mut self, id: &Arc<str>) {
        self.core.groups.remove(id.as_ref());
        match self.core.hard.group(id).cloned() {
            Some(Written::Classic(_)) => self.write(Entry::Classic(id.clone(), None)),
            Some(Written::Consumer(group)) => {
                for entry in group.tombstones() {
                    self.write(Entry::Consumer(id.clone(), entry));
                }
            }
            None => {}
        }
    }

    /// The group's rebalance is due to go on at `due`.
    pub fn set_rebalance(&mut self, id: &Arc<str>, group: &mut classic::Group, due: Millis) {
        group.alarm.set(due, &mut self.core.alarms, || Subject::Rebalance(id.clone()));
    }
}

/// The answer to a JoinGroup that fails. Before version 7 the protocol's name cannot be null.
pub(crate) fn refused_join(version: i16, code: ErrorCode, member: StrBytes) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code.code())
        .with_member_id(member)
        .with_protocol_name((version < 7).then(StrBytes::default))
}
