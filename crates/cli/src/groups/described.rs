//! A group as its coordinator describes it, the same for both protocols.

use std::collections::BTreeMap;

use model::ErrorCode;
use proto::DecodeError;
use proto::codec::Reader;
use proto::rebalances::{Rebalance, Rebalances, TAG};
use wire::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup as ConsumerGroup, Member as ConsumerMember,
};
use wire::messages::describe_groups_response::{DescribedGroup as ClassicGroup, DescribedGroupMember};
use wire::messages::{
    Bytes, ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, ResponseKind, StrBytes, text,
};

use crate::client::{Cluster, answer, refused, unexpected};
use crate::failure::{Kind, Outcome};
use crate::groups::coordinator;

/// Partitions by topic.
pub type Parts = BTreeMap<String, Vec<i32>>;

/// The member type of a member of the classic protocol in a group of the new one.
const SPEAKS_CLASSIC: i8 = 0;

/// A group.
#[derive(Debug, Default)]
pub struct Described {
    pub id: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    pub state: String,
    /// What divides its partitions.
    pub assignor: String,
    /// The group epoch, and that of its target; a classic group does not tell its generation.
    pub epochs: Option<(i32, i32)>,
    pub coordinator: i32,
    pub members: Vec<Member>,
    /// Why it rebalanced lately, as far as its coordinator remembers; nothing from one that is not of our kind.
    pub rebalances: Vec<Rebalance>,
}

/// One of its members.
#[derive(Debug, Default)]
pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub client: String,
    pub host: String,
    pub rack: Option<String>,
    /// In groups of the new protocol: its epoch, what it is to have, what it subscribes to.
    pub epoch: Option<i32>,
    pub target: Option<Parts>,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    /// What it has.
    pub assigned: Parts,
    /// It speaks the classic protocol in a group of the new one.
    pub is_classic: bool,
}

impl Described {
    /// Whether its offsets may be moved.
    pub fn is_inactive(&self) -> bool {
        self.state == "Empty" || self.state == "Dead"
    }

    /// Who has a partition.
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&Member> {
        let has = |member: &&Member| member.assigned.get(topic).is_some_and(|own| own.contains(&partition));
        self.members.iter().find(has)
    }
}

/// Describes a group that must be there.
pub async fn describe(cluster: &mut Cluster, group: &str) -> Outcome<Described> {
    let found = find(cluster, group).await?;
    found.ok_or_else(|| refused(&format!("describe {group}"), ErrorCode::GroupIdNotFound, None))
}

/// Describes a group, if there is one.
pub async fn find(cluster: &mut Cluster, group: &str) -> Outcome<Option<Described>> {
    if let Some(found) = classic(cluster, group).await? {
        return Ok(Some(found));
    }
    match consumer(cluster, group).await {
        // A node that does not know the new protocol has no such groups.
        Err(failure) if failure.kind == Kind::Refused => Ok(None),
        outcome => outcome,
    }
}

async fn classic(cluster: &mut Cluster, group: &str) -> Outcome<Option<Described>> {
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![GroupId(text(group))])
        .with_unknown_tagged_field(TAG, Bytes::new());
    let deed = format!("describe {group}");
    let code = |response: &ResponseKind| match response {
        ResponseKind::DescribeGroups(response) => code_of(response.groups.first().map(|it| it.error_code)),
        _ => ErrorCode::None,
    };
    let (node, response) = coordinator::ask(cluster, group, &deed, request, code).await?;
    let Some(found) = answer!(DescribeGroups, response).groups.into_iter().next() else {
        return Err(unexpected());
    };
    match ErrorCode::from_code(found.error_code) {
        ErrorCode::GroupIdNotFound => Ok(None),
        code if code.is_error() => Err(refused(&deed, code, found.error_message.as_deref())),
        // So older nodes say that there is none.
        _ if found.group_state.as_str() == "Dead" => Ok(None),
        _ => Ok(Some(from_classic(node, &found))),
    }
}

async fn consumer(cluster: &mut Cluster, group: &str) -> Outcome<Option<Described>> {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![GroupId(text(group))])
        .with_unknown_tagged_field(TAG, Bytes::new());
    let deed = format!("describe {group}");
    let code = |response: &ResponseKind| match response {
        ResponseKind::ConsumerGroupDescribe(response) => {
            code_of(response.groups.first().map(|it| it.error_code))
        }
        _ => ErrorCode::None,
    };
    let (node, response) = coordinator::ask(cluster, group, &deed, request, code).await?;
    let Some(found) = answer!(ConsumerGroupDescribe, response).groups.into_iter().next() else {
        return Err(unexpected());
    };
    match ErrorCode::from_code(found.error_code) {
        ErrorCode::GroupIdNotFound => Ok(None),
        code if code.is_error() => Err(refused(&deed, code, found.error_message.as_deref())),
        _ => Ok(Some(from_consumer(node, found))),
    }
}

fn code_of(code: Option<i16>) -> ErrorCode {
    code.map_or(ErrorCode::None, ErrorCode::from_code)
}

fn from_classic(coordinator: i32, group: &ClassicGroup) -> Described {
    let member = |member: &DescribedGroupMember| Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(StrBytes::to_string),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        // Other programs than consumers share out by what only they can read.
        assigned: assignment(&member.member_assignment).unwrap_or_default(),
        ..Member::default()
    };
    Described {
        id: group.group_id.to_string(),
        kind: "classic",
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        epochs: None,
        coordinator,
        members: group.members.iter().map(member).collect(),
        rebalances: rebalances(&group.unknown_tagged_fields),
    }
}

fn from_consumer(coordinator: i32, group: ConsumerGroup) -> Described {
    Described {
        id: group.group_id.to_string(),
        kind: "consumer",
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        epochs: Some((group.group_epoch, group.assignment_epoch)),
        coordinator,
        rebalances: rebalances(&group.unknown_tagged_fields),
        members: group.members.into_iter().map(consumer_member).collect(),
    }
}

/// What cannot be read is of a later release, and the rest of the answer is worth showing.
fn rebalances(fields: &BTreeMap<i32, Bytes>) -> Vec<Rebalance> {
    let told = fields.get(&TAG).and_then(|bytes| Rebalances::from_bytes(bytes).ok());
    told.map(|told| told.rebalances).unwrap_or_default()
}

fn consumer_member(member: ConsumerMember) -> Member {
    let parts = |assignment: &Assignment| -> Parts {
        let topics = assignment.topic_partitions.iter();
        topics.map(|topic| (topic.topic_name.to_string(), topic.partitions.clone())).collect()
    };
    Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.map(|instance| instance.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        rack: member.rack_id.map(|rack| rack.to_string()),
        epoch: Some(member.member_epoch),
        target: Some(parts(&member.target_assignment)),
        topics: member.subscribed_topic_names.iter().map(|name| name.to_string()).collect(),
        regex: member.subscribed_topic_regex.map(|regex| regex.to_string()).filter(|regex| !regex.is_empty()),
        assigned: parts(&member.assignment),
        is_classic: member.member_type == SPEAKS_CLASSIC,
    }
}

/// What a consumer of the classic protocol was given: a version, its topics, and what its assignor added.
fn assignment(bytes: &[u8]) -> Result<Parts, DecodeError> {
    let mut parts = Parts::new();
    if bytes.is_empty() {
        return Ok(parts);
    }
    let mut reader = Reader::new(bytes);
    reader.take_array::<2>()?;
    for _ in 0..i32::from_be_bytes(reader.take_array()?) {
        let at = reader.at();
        let length = u16::from_be_bytes(reader.take_array()?);
        let name = std::str::from_utf8(reader.take(length.into())?).map_err(|_| DecodeError::Utf8 { at })?;
        let own: &mut Vec<i32> = parts.entry(name.to_owned()).or_default();
        for _ in 0..i32::from_be_bytes(reader.take_array()?) {
            own.push(i32::from_be_bytes(reader.take_array()?));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::assignment;

    const TWO: &[u8] =
        &[0, 3, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];

    #[test]
    fn a_classic_members_assignment_is_read() {
        let parts = assignment(TWO).expect("it is whole");
        assert_eq!(parts["t"], [0, 4]);
        assert!(assignment(&[]).expect("a member without partitions").is_empty());
    }

    #[test]
    fn what_is_no_assignment_does_no_harm() {
        for end in 1..TWO.len() - 4 {
            assert!(assignment(&TWO[..end]).is_err(), "{end}");
        }
        assert!(assignment(&[0, 0, 0x7f, 0xff, 0xff, 0xff]).is_err());
    }
}
