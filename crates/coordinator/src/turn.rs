//! One turn: a request or a timer at work on the shard's copy, and what comes of it.

use std::sync::Arc;

use model::{ErrorCode, Millis};
use proto::EncodeError;
use wire::messages::{JoinGroupResponse, ResponseKind, StrBytes, SyncGroupResponse};

use crate::alarm::{Alarms, Subject};
use crate::call::{Caller, Now, Reply};
use crate::classic;
use crate::cluster::Cluster;
use crate::group::Group;
use crate::hard::{Hard, Written};
use crate::offsets::Offsets;
use crate::record::{Entry, Record};
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
    #[expect(dead_code, reason = "groups of the new protocol will ask")]
    pub cluster: &'a dyn Cluster,
    pub core: &'a mut Core,
    /// Offsets up to the high watermark.
    pub committed: &'a Offsets,
    pub records: Vec<Record>,
    pub replies: Vec<Reply>,
    /// The answers may tell of what earlier turns appended, so they wait for that as well.
    pub behind_all: bool,
    /// A record that has no bytes: the whole turn is undone.
    pub unwritable: Option<EncodeError>,
}

impl Turn<'_> {
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
