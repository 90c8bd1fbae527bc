//! Where else to ask: leaders and their addresses, for answers that refuse (KIP-951).

use std::collections::BTreeSet;

use metadata::{Broker, Image};
use model::NodeId;

/// The brokers among `nodes` that are reached at `listener`, with host, port and rack.
pub fn endpoints<'a>(
    image: &'a Image,
    listener: &'a str,
    nodes: &'a BTreeSet<NodeId>,
) -> impl Iterator<Item = Endpoint<'a>> {
    let brokers = nodes.iter().filter_map(|node| image.broker(*node));
    brokers.filter_map(move |broker: &Broker| {
        let found = broker.listener(listener)?;
        Some(Endpoint { node: broker.id, host: &found.host, port: found.port, rack: broker.rack.as_deref() })
    })
}

/// A broker's address.
pub struct Endpoint<'a> {
    /// The broker.
    pub node: NodeId,
    /// Its host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Its rack.
    pub rack: Option<&'a str>,
}
