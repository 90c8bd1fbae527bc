//! The controller's decisions, and a word in the log for each broker that is not taken in.

use std::collections::BTreeMap;

use controller::{Decision, View, register_broker};
use wire::messages::{RequestKind, ResponseKind};

/// So many refusals are remembered.
const REFUSED_MAX: usize = 1_000;

/// Why each broker's last registration was refused: it tries again twice a second, and is told once.
pub(super) type Refused = BTreeMap<i32, String>;

/// The decision on a request; none where nobody decides such requests.
pub(super) fn decide(
    view: &View<'_>,
    version: i16,
    request: &RequestKind,
    refused: &mut Refused,
) -> Option<Decision<ResponseKind>> {
    let RequestKind::BrokerRegistration(registration) = request else {
        return controller::decide(view, version, request);
    };
    let decided = register_broker::decide(view, registration);
    note_registration(registration.broker_id.0, &decided, refused);
    Some(match decided {
        Ok(decision) => decision.map(Into::into),
        Err(error) => Decision::answer(register_broker::refuse(&error).into()),
    })
}

fn note_registration<R, E: ToString>(broker: i32, decided: &Result<R, E>, refused: &mut Refused) {
    let Err(error) = decided else {
        refused.remove(&broker);
        return;
    };
    // Ids are what a peer says: the list does not grow with its imagination.
    if refused.len() >= REFUSED_MAX && !refused.contains_key(&broker) {
        refused.clear();
    }
    let reason = error.to_string();
    if refused.get(&broker) != Some(&reason) {
        tracing::warn!(broker, error = reason, "controller: a broker is not registered");
        refused.insert(broker, reason);
    }
}
