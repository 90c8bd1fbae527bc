//! A member of the classic protocol. The one that leads gives each its share.

use anyhow::{Result, bail};
use model::ErrorCode;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    Bytes, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ResponseKind,
    StrBytes, SyncGroupRequest, text,
};

use super::connection::Connection;
use super::{HEARTBEAT, PAUSE, Shared, passes};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const BEAT: i16 = 4;
const LEAVE: i16 = 5;
/// Kafka's client's defaults.
const SESSION_MS: i32 = 45_000;
const REBALANCE_MS: i32 = 300_000;
const TYPE: &str = "consumer";
const STRATEGY: &str = "range";

/// Lives until it is told to leave.
pub async fn live(shared: &Shared, index: usize) -> Result<()> {
    let mut connection = Connection::open(shared.membership.port, &shared.dials).await?;
    let mut id = text("");
    let mut heard = 0;
    loop {
        let joined = join(shared, &mut connection, &mut id).await?;
        if !sync(shared, &mut connection, index, &joined).await? {
            continue;
        }
        loop {
            shared.pause(&mut heard, HEARTBEAT).await;
            if shared.is_to_leave(index) {
                return leave(shared, &mut connection, index, id).await;
            }
            let request = HeartbeatRequest::default()
                .with_group_id(GroupId(text(&shared.membership.group)))
                .with_generation_id(joined.generation_id)
                .with_member_id(id.clone());
            let ResponseKind::Heartbeat(response) = connection.call(BEAT, request).await? else {
                bail!("a heartbeat was answered with something else");
            };
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => {}
                ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => break,
                code => bail!("a heartbeat was refused: {}", code.name()),
            }
        }
    }
}

/// Joins, however often it takes.
async fn join(shared: &Shared, connection: &mut Connection, id: &mut StrBytes) -> Result<JoinGroupResponse> {
    loop {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(STRATEGY))
            .with_metadata(subscription(&shared.membership.topic));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&shared.membership.group)))
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(id.clone())
            .with_protocol_type(text(TYPE))
            .with_protocols(vec![protocol]);
        let ResponseKind::JoinGroup(response) = connection.call(JOIN, request).await? else {
            bail!("a join was answered with something else");
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                *id = StrBytes::from_string(response.member_id.to_string());
                return Ok(response);
            }
            ErrorCode::MemberIdRequired => *id = StrBytes::from_string(response.member_id.to_string()),
            code if passes(code.code()) => tokio::time::sleep(PAUSE).await,
            code => bail!("a join was refused: {}", code.name()),
        }
    }
}

/// Takes its share; false when the group rebalances again.
async fn sync(
    shared: &Shared,
    connection: &mut Connection,
    index: usize,
    joined: &JoinGroupResponse,
) -> Result<bool> {
    let membership = &shared.membership;
    let is_leader = joined.leader == joined.member_id;
    let members = i32::try_from(joined.members.len())?;
    let shares = (0..).zip(&joined.members).filter(|_| is_leader).map(|(place, member)| {
        let own = (0..membership.partitions).filter(|partition| partition % members == place);
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(assignment(&membership.topic, &own.collect::<Vec<_>>()))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(GroupId(text(&membership.group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text(TYPE)))
        .with_protocol_name(Some(text(STRATEGY)))
        .with_assignments(shares.collect());
    let ResponseKind::SyncGroup(response) = connection.call(SYNC, request).await? else {
        bail!("a sync was answered with something else");
    };
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {
            shared.stand(index, joined.generation_id, count(&response.assignment));
            Ok(true)
        }
        ErrorCode::RebalanceInProgress => Ok(false),
        code => bail!("a sync was refused: {}", code.name()),
    }
}

async fn leave(shared: &Shared, connection: &mut Connection, index: usize, id: StrBytes) -> Result<()> {
    shared.leave(index);
    let member = MemberIdentity::default().with_member_id(id);
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(&shared.membership.group)))
        .with_members(vec![member]);
    connection.call(LEAVE, request).await?;
    shared.call_all();
    Ok(())
}

/// What a consumer says that it reads: a version, one topic, nothing of its own.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    put_text(topic, &mut bytes);
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

/// What it is given.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    put_text(topic, &mut bytes);
    bytes.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
    partitions.iter().for_each(|partition| bytes.extend_from_slice(&partition.to_be_bytes()));
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

fn put_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// How many partitions it was given: of its one topic.
fn count(assignment: &[u8]) -> i32 {
    let name = assignment.get(6..8).map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    let count = assignment.get(8 + name..).and_then(|rest| rest.first_chunk());
    count.map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::{assignment, count};

    #[test]
    fn a_member_can_count_what_it_was_given() {
        assert_eq!(count(&assignment("topic", &[4, 7, 9])), 3);
        assert_eq!((count(&assignment("topic", &[])), count(&[])), (0, 0));
    }
}
