//! Why a request is refused, and the code that Kafka answers.

use model::ErrorCode;

/// Why a group says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A group needs a name.
    #[error("The group id is empty.")]
    InvalidGroupId,
    /// Outside of what the operator allows.
    #[error("The session timeout is not within the range allowed by the broker.")]
    SessionTimeout,
    /// No protocol that all members know, or another protocol than the group's.
    #[error("The member's protocols are not the group's.")]
    InconsistentProtocol,
    /// No such member, or a request about a group that has none.
    #[error("The member {member} is not known in the group.")]
    UnknownMember {
        /// As asked.
        member: String,
    },
    /// Another process has taken this instance's place (KIP-345).
    #[error("The instance {instance} is the member {had} now, not {got}.")]
    FencedInstance {
        /// The instance.
        instance: String,
        /// Who it is.
        had: String,
        /// Who asked.
        got: String,
    },
    /// Of another generation.
    #[error("The group is in generation {had}, not {got}.")]
    IllegalGeneration {
        /// The group's.
        had: i32,
        /// The request's.
        got: i32,
    },
    /// Join again first.
    #[error("The group is rebalancing, so a rejoin is needed.")]
    RebalanceInProgress,
    /// Come back with the id given (KIP-394).
    #[error("The group member needs to have a valid member id before actually entering the group.")]
    MemberIdRequired,
    /// `group.max.size`.
    #[error("The group has reached its maximum of {max} members.")]
    GroupFull {
        /// The bound.
        max: usize,
    },
    /// More ids were handed out than clients can be behind them; the same may go well later.
    #[error("{max} members of the group have an id and did not join yet; try again.")]
    TooManyExpected {
        /// The bound.
        max: usize,
    },
    /// No such group.
    #[error("Group {group} not found.")]
    GroupIdNotFound {
        /// As asked.
        group: String,
    },
    /// A group of another kind.
    #[error("Group {group} is not a classic group.")]
    NotClassic {
        /// As asked.
        group: String,
    },
    /// It still has members.
    #[error("The group is not empty.")]
    NonEmptyGroup,
    /// The offset of a topic that members are subscribed to.
    #[error("The group is actively subscribed to the topic.")]
    SubscribedToTopic,
    /// Of another epoch of its member (KIP-848).
    #[error("The member is in epoch {had}, not {got}.")]
    StaleMemberEpoch {
        /// The member's.
        had: i32,
        /// The request's.
        got: i32,
    },
    /// The request is older than the kind of group.
    #[error("Members of the new protocol commit offsets with version 9 or later.")]
    TooOldForConsumerGroup,
    /// A group of another kind.
    #[error("Group {group} is not a consumer group.")]
    NotConsumer {
        /// As asked.
        group: String,
    },
    /// The operator or the cluster's features do not let the new protocol be used.
    #[error("The new consumer group protocol is not enabled.")]
    NoConsumerProtocol,
    /// A classic group stays one.
    #[error("Cannot upgrade classic group {group} to consumer group because {why}.")]
    CannotUpgrade {
        /// As asked.
        group: String,
        /// Its reason.
        why: &'static str,
    },
    /// What a request must or must not say.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// `group.consumer.assignors`.
    #[error("ServerAssignor {name} is not supported. Supported assignors: {offered}.")]
    UnsupportedAssignor {
        /// As asked.
        name: String,
        /// Those that are.
        offered: String,
    },
    /// No regular expression that this server knows, or one that costs too much.
    #[error("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {cause}.")]
    InvalidExpression {
        /// As asked, cut when long.
        pattern: String,
        /// What is wrong.
        cause: String,
    },
    /// `group.consumer.max.size`.
    #[error("The consumer group has reached its maximum capacity of {max} members.")]
    ConsumerGroupFull {
        /// The bound.
        max: usize,
    },
    /// The instance is a member that did not leave (KIP-848).
    #[error(
        "Static member {got} with instance id {instance} cannot join the group because the instance id is owned by {had} member."
    )]
    UnreleasedInstance {
        /// The instance.
        instance: String,
        /// Who it is.
        had: String,
        /// Who asked.
        got: String,
    },
    /// The member speaks of another epoch than its own.
    #[error(
        "The consumer group member has a {than} member epoch ({got}) than the one known by the group coordinator ({had}). The member must abandon all its partitions and rejoin."
    )]
    FencedMemberEpoch {
        /// The member's.
        had: i32,
        /// The request's.
        got: i32,
        /// `smaller` or `greater`.
        than: &'static str,
    },
    /// A later release wrote where the member stands.
    #[error(
        "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin."
    )]
    UnknownState,
    /// Two thousand million changes of one group.
    #[error("The group has used up its epochs; delete it and begin another.")]
    TooManyEpochs,
    /// `offset.metadata.max.bytes`.
    #[error("The committed offset's metadata is longer than {max}.")]
    MetadataTooLarge {
        /// The bound.
        max: usize,
    },
}

impl Refusal {
    /// The code that a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::SessionTimeout => ErrorCode::InvalidSessionTimeout,
            Self::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::UnknownMember { .. } => ErrorCode::UnknownMemberId,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress | Self::TooManyExpected { .. } => ErrorCode::RebalanceInProgress,
            Self::MemberIdRequired => ErrorCode::MemberIdRequired,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::GroupIdNotFound { .. }
            | Self::NotClassic { .. }
            | Self::NotConsumer { .. }
            | Self::CannotUpgrade { .. } => ErrorCode::GroupIdNotFound,
            Self::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            Self::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            Self::StaleMemberEpoch { .. } => ErrorCode::StaleMemberEpoch,
            Self::TooOldForConsumerGroup | Self::NoConsumerProtocol => ErrorCode::UnsupportedVersion,
            Self::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Self::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            Self::InvalidExpression { .. } => ErrorCode::InvalidRegularExpression,
            Self::ConsumerGroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            Self::FencedMemberEpoch { .. } | Self::UnknownState => ErrorCode::FencedMemberEpoch,
            Self::TooManyEpochs => ErrorCode::UnknownServerError,
            Self::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
        }
    }

    /// That there is no such member.
    pub(crate) fn unknown_member(member: &str) -> Self {
        Self::UnknownMember { member: member.to_owned() }
    }
}
