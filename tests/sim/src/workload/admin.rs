//! An administrator: topics come, grow and go, leaders and replicas move, settings change,
//! all in the middle of everything else.
//!
//! Topics that must be there at the end are never deleted, and no setting is changed that
//! decides what a topic promises (`min.insync.replicas`, `flush.messages`): those are given
//! when it is created. A deleted topic's name is never used again, so that a name is one log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ErrorCode;
use wire::api::ApiKey;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::describe_topic_partitions_request::TopicRequest;
use wire::messages::elect_leaders_request::TopicPartitions;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    RequestKind, ResponseKind, text, topic,
};

use crate::workload::board::{Board, TopicEntry};
use crate::workload::client::{Client, Failed, Key, begin, finish};
use crate::workload::queue::{Stop, TopicPlan};
use crate::workload::record::{AdminOutcome, Recorder};

const TIMEOUT_MS: i32 = 5_000;
/// Topics that live at one time: each costs every node files and every client requests.
const TOPICS_MAX: usize = 6;
const PARTITIONS_MAX: i32 = 4;
const CREATE_ATTEMPTS: u32 = 40;

/// The administrator.
pub struct Admin {
    client: Client,
    recorder: Recorder,
    board: Arc<Mutex<Board>>,
    think: Duration,
    created: u32,
}

impl Admin {
    /// One that has done nothing.
    pub fn new(client: Client, recorder: Recorder, board: Arc<Mutex<Board>>, think: Duration) -> Self {
        Self { client, recorder, board, think, created: 0 }
    }

    /// Creates the topics that are there from the beginning; whether all are.
    pub async fn set_up(&mut self, plans: &[TopicPlan], stop: &Stop) -> bool {
        for (at, plan) in plans.iter().enumerate() {
            let name = format!("q{at}");
            if !self.set_up_apart(&name, plan, stop).await {
                return false;
            }
            self.share(&name, plan, false);
        }
        true
    }

    /// Creates a topic that no other client of the board is to touch; whether it is there.
    pub async fn set_up_apart(&mut self, name: &str, plan: &TopicPlan, stop: &Stop) -> bool {
        let mut attempt = 0;
        while self.ask_to_create(name, plan).await != AdminOutcome::Done {
            attempt += 1;
            if attempt == CREATE_ATTEMPTS || stop.is_set() {
                return false;
            }
            self.client.back_off(attempt).await;
        }
        true
    }

    /// Administers until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            let most = u64::try_from(self.think.as_millis()).unwrap_or(u64::MAX).max(1) * 2;
            tokio::time::sleep(Duration::from_millis(self.client.rng.u64(1..=most))).await;
            self.client.refresh_if_stale().await;
            match self.client.rng.u8(..16) {
                0..=1 => self.create_passing().await,
                2 => self.delete_passing().await,
                3 => self.grow().await,
                4..=7 => self.elect().await,
                8..=10 => self.alter_config().await,
                11..=13 => self.reassign().await,
                _ => self.describe().await,
            }
        }
    }

    async fn create_passing(&mut self) {
        if self.living().len() < TOPICS_MAX {
            self.created += 1;
            let plan = TopicPlan::draw(&mut self.client.rng);
            let name = format!("p{}", self.created);
            if self.ask_to_create(&name, &plan).await == AdminOutcome::Done {
                self.share(&name, &plan, true);
            }
        }
    }

    /// Others may use the topic from now on.
    fn share(&self, name: &str, plan: &TopicPlan, is_passing: bool) {
        let entry =
            TopicEntry { partitions: plan.partitions, replicas: plan.replicas, is_doomed: false, is_passing };
        self.board.lock().expect("no holder of this lock panics").add(name, entry);
    }

    async fn ask_to_create(&mut self, name: &str, plan: &TopicPlan) -> AdminOutcome {
        let config = |(name, value): &(&str, String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let asked = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(plan.partitions)
            .with_replication_factor(plan.replicas)
            .with_configs(plan.configs().iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(TIMEOUT_MS);
        let told = format!("create {name} {plan}");
        let outcome = self.carry_out(&told, ApiKey::CreateTopics, request).await;
        let is_there = outcome == AdminOutcome::Refused(ErrorCode::TopicAlreadyExists);
        let outcome = if is_there { AdminOutcome::Done } else { outcome };
        if outcome == AdminOutcome::Done {
            self.recorder.topic(name, plan);
            self.client.distrust();
        }
        outcome
    }

    async fn delete_passing(&mut self) {
        let passing: Vec<String> =
            self.living().into_iter().filter(|(_, entry)| entry.is_passing).map(|(name, _)| name).collect();
        if passing.is_empty() {
            return;
        }
        let name = passing[self.client.rng.usize(..passing.len())].clone();
        // Before it is sent: from now on the records may be gone.
        self.board.lock().expect("no holder of this lock panics").doom(&name);
        self.recorder.doomed(&name);
        let state = DeleteTopicState::default().with_name(Some(topic(&name)));
        let by_state = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS).with_topics(vec![state]);
        self.carry_out(&format!("delete {name}"), ApiKey::DeleteTopics, by_state).await;
    }

    async fn grow(&mut self) {
        let Some((name, entry)) = self.any_topic() else { return };
        if entry.partitions >= PARTITIONS_MAX {
            return;
        }
        let count = entry.partitions + 1;
        let asked = CreatePartitionsTopic::default().with_name(topic(&name)).with_count(count);
        let asked = asked.with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![asked]).with_timeout_ms(TIMEOUT_MS);
        let outcome =
            self.carry_out(&format!("grow {name} to {count}"), ApiKey::CreatePartitions, request).await;
        if outcome == AdminOutcome::Done {
            self.board.lock().expect("no holder of this lock panics").grow(&name, count);
        }
    }

    async fn elect(&mut self) {
        let Some(key) = self.any_partition() else { return };
        let asked = TopicPartitions::default().with_topic(topic(&key.0)).with_partitions(vec![key.1]);
        let request = ElectLeadersRequest::default().with_timeout_ms(TIMEOUT_MS);
        let request = request.with_topic_partitions(Some(vec![asked]));
        self.carry_out(&format!("elect {}-{}", key.0, key.1), ApiKey::ElectLeaders, request).await;
    }

    async fn alter_config(&mut self) {
        const TOPIC: i8 = 2;
        let Some((name, _)) = self.any_topic() else { return };
        let (key, value) = match self.client.rng.u8(..5) {
            0 => ("internal.segment.bytes", Some((1 << self.client.rng.u8(11..=16)).to_string())),
            1 => ("compression.type", Some("lz4".to_owned())),
            2 => ("compression.type", Some("producer".to_owned())),
            3 => ("segment.ms", Some(self.client.rng.i64(2_000..=20_000).to_string())),
            _ => ("segment.ms", None),
        };
        let operation = i8::from(value.is_none());
        let told = format!("alter {name} {key}={}", value.as_deref().unwrap_or("default"));
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.as_deref().map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        self.carry_out(&told, ApiKey::IncrementalAlterConfigs, request).await;
    }

    /// Another set of replicas, as many as before, or the end of what is under way.
    async fn reassign(&mut self) {
        let Some(key) = self.any_partition() else { return };
        let replicas = {
            let board = self.board.lock().expect("no holder of this lock panics");
            let found = board.living().find(|(name, _)| **name == key.0).map(|(_, entry)| entry.replicas);
            usize::try_from(found.unwrap_or(1)).unwrap_or(1)
        };
        let mut nodes = self.client.nodes();
        if nodes.len() < replicas {
            return;
        }
        self.client.rng.shuffle(&mut nodes);
        nodes.truncate(replicas);
        let target = (self.client.rng.u8(..5) > 0).then_some(nodes);
        let told = format!("reassign {}-{} to {target:?}", key.0, key.1);
        let asked = ReassignablePartition::default()
            .with_partition_index(key.1)
            .with_replicas(target.map(|nodes| nodes.into_iter().map(BrokerId).collect()));
        let asked = ReassignableTopic::default().with_name(topic(&key.0)).with_partitions(vec![asked]);
        let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(TIMEOUT_MS);
        let request = request.with_topics(vec![asked]);
        self.carry_out(&told, ApiKey::AlterPartitionReassignments, request).await;
    }

    async fn describe(&mut self) {
        let names = self.living();
        let topics = names.iter().map(|(name, _)| TopicRequest::default().with_name(topic(name))).collect();
        let request = DescribeTopicPartitionsRequest::default().with_topics(topics);
        let request = request.with_response_partition_limit(self.client.rng.i32(1..=20));
        self.carry_out("describe", ApiKey::DescribeTopicPartitions, request).await;
        self.client.distrust();
    }

    /// Sends to any node, which passes it on, and notes what came of it.
    async fn carry_out(&mut self, told: &str, api: ApiKey, request: impl Into<RequestKind>) -> AdminOutcome {
        let op = self.recorder.admin_began(told);
        let outcome = match self.ask(api, request.into()).await {
            Ok(response) => outcome_of(&response),
            Err(Failed::NotSent(_)) => AdminOutcome::NotSent,
            Err(Failed::Sent(_)) => AdminOutcome::Unknown,
        };
        if let AdminOutcome::Refused(code) = outcome {
            self.recorder.refused(code);
        }
        self.recorder.admin_ended(op, outcome);
        if outcome != AdminOutcome::Done {
            self.client.distrust();
        }
        outcome
    }

    async fn ask(&mut self, api: ApiKey, mut request: RequestKind) -> Result<ResponseKind, Failed> {
        /// Before this version topics are deleted by a list of names.
        const DELETE_STATES_FROM: i16 = 6;
        let address = self.client.any_address();
        let link = self.client.link(&address).await?;
        let version =
            link.any_version(api).ok_or_else(|| Failed::NotSent(format!("{api:?} is not served")))?;
        if let RequestKind::DeleteTopics(delete) = &mut request
            && version < DELETE_STATES_FROM
        {
            let states = std::mem::take(&mut delete.topics);
            delete.topic_names = states.into_iter().filter_map(|state| state.name).collect();
        }
        // A controller may take all of its own timeout.
        let patience = self.client.request_timeout + Duration::from_millis(1_000);
        finish(begin(&link, version, request, patience)).await
    }

    fn living(&self) -> Vec<(String, TopicEntry)> {
        let board = self.board.lock().expect("no holder of this lock panics");
        board.living().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    fn any_topic(&mut self) -> Option<(String, TopicEntry)> {
        let living = self.living();
        (!living.is_empty()).then(|| living[self.client.rng.usize(..living.len())].clone())
    }

    fn any_partition(&mut self) -> Option<Key> {
        let keys = self.board.lock().expect("no holder of this lock panics").partitions();
        (!keys.is_empty()).then(|| keys[self.client.rng.usize(..keys.len())].clone())
    }
}

/// The first error of an answer. A code that a controller gives after it began may mean that it was done.
fn outcome_of(response: &ResponseKind) -> AdminOutcome {
    let code = match response {
        ResponseKind::CreateTopics(it) => it.topics.first().map(|one| one.error_code),
        ResponseKind::DeleteTopics(it) => it.responses.first().map(|one| one.error_code),
        ResponseKind::CreatePartitions(it) => it.results.first().map(|one| one.error_code),
        ResponseKind::IncrementalAlterConfigs(it) => it.responses.first().map(|one| one.error_code),
        ResponseKind::ElectLeaders(it) if it.error_code != 0 => Some(it.error_code),
        ResponseKind::ElectLeaders(it) => {
            let one = it.replica_election_results.iter().flat_map(|topic| &topic.partition_result).next();
            Some(one.map_or(0, |one| one.error_code))
        }
        ResponseKind::AlterPartitionReassignments(it) if it.error_code != 0 => Some(it.error_code),
        ResponseKind::AlterPartitionReassignments(it) => {
            let one = it.responses.iter().flat_map(|topic| &topic.partitions).next();
            Some(one.map_or(0, |one| one.error_code))
        }
        ResponseKind::DescribeTopicPartitions(_) => Some(0),
        _ => None,
    };
    match code.map(ErrorCode::from_code) {
        None => AdminOutcome::Unknown,
        Some(ErrorCode::None) => AdminOutcome::Done,
        Some(
            ErrorCode::RequestTimedOut
            | ErrorCode::UnknownServerError
            | ErrorCode::NotController
            | ErrorCode::NetworkException,
        ) => AdminOutcome::Unknown,
        Some(code) => AdminOutcome::Refused(code),
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorCode;
    use wire::messages::create_topics_response::CreatableTopicResult;
    use wire::messages::{CreateTopicsResponse, ElectLeadersResponse, ResponseKind};

    use super::{AdminOutcome, outcome_of};

    #[test]
    fn an_answer_that_a_timeout_gave_leaves_the_outcome_open() {
        let told = |code: ErrorCode| {
            let one = CreatableTopicResult::default().with_error_code(code.code());
            outcome_of(&ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(vec![one])))
        };
        assert_eq!(told(ErrorCode::None), AdminOutcome::Done);
        assert_eq!(told(ErrorCode::RequestTimedOut), AdminOutcome::Unknown);
        let refused = AdminOutcome::Refused(ErrorCode::InvalidReplicationFactor);
        assert_eq!(told(ErrorCode::InvalidReplicationFactor), refused);
        let nothing = ResponseKind::ElectLeaders(ElectLeadersResponse::default());
        assert_eq!(outcome_of(&nothing), AdminOutcome::Done, "nothing to elect is no error");
    }
}
