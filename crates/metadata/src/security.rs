//! ACLs, SCRAM credentials and delegation tokens, kept as their records say.
//!
//! Nothing here judges them; they are kept so that snapshots keep them.

use std::sync::Arc;

use imbl::OrdMap;
use model::Uuid;
use proto::metadata::{
    AccessControlEntryRecord, DelegationTokenRecord, MetadataRecord, RemoveAccessControlEntryRecord,
    RemoveDelegationTokenRecord, RemoveUserScramCredentialRecord, UserScramCredentialRecord,
};

use crate::changes::Changes;
use crate::error::ReplayError;

/// Who may do what, and how they prove who they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Security {
    pub(crate) acls: OrdMap<Uuid, Arc<AccessControlEntryRecord>>,
    /// By mechanism and user.
    pub(crate) scram: OrdMap<(i8, String), Arc<UserScramCredentialRecord>>,
    /// By token id.
    pub(crate) tokens: OrdMap<String, Arc<DelegationTokenRecord>>,
}

impl Security {
    pub(crate) fn add_acl(&mut self, record: &AccessControlEntryRecord, changes: &mut Changes) {
        self.acls.insert(record.id, Arc::new(record.clone()));
        changes.acls.insert(record.id);
    }

    pub(crate) fn remove_acl(
        &mut self,
        record: &RemoveAccessControlEntryRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let unknown = || ReplayError::unknown("RemoveAccessControlEntryRecord", "ACL", record.id);
        self.acls.remove(&record.id).ok_or_else(unknown)?;
        changes.acls.insert(record.id);
        Ok(())
    }

    pub(crate) fn set_scram(&mut self, record: &UserScramCredentialRecord, changes: &mut Changes) {
        let key = (record.mechanism, record.name.clone());
        self.scram.insert(key.clone(), Arc::new(record.clone()));
        changes.scram.insert(key);
    }

    /// Kafka writes this for credentials that are not there, too.
    pub(crate) fn remove_scram(&mut self, record: &RemoveUserScramCredentialRecord, changes: &mut Changes) {
        let key = (record.mechanism, record.name.clone());
        self.scram.remove(&key);
        changes.scram.insert(key);
    }

    pub(crate) fn set_token(&mut self, record: &DelegationTokenRecord, changes: &mut Changes) {
        self.tokens.insert(record.token_id.clone(), Arc::new(record.clone()));
        changes.delegation_tokens.insert(record.token_id.clone());
    }

    /// Kafka writes this for tokens that are not there, too.
    pub(crate) fn remove_token(&mut self, record: &RemoveDelegationTokenRecord, changes: &mut Changes) {
        self.tokens.remove(&record.token_id);
        changes.delegation_tokens.insert(record.token_id.clone());
    }

    pub(crate) fn records(&self, emit: &mut dyn FnMut(MetadataRecord)) {
        self.acls.values().for_each(|record| emit(AccessControlEntryRecord::clone(record).into()));
        self.scram.values().for_each(|record| emit(UserScramCredentialRecord::clone(record).into()));
        self.tokens.values().for_each(|record| emit(DelegationTokenRecord::clone(record).into()));
    }
}
