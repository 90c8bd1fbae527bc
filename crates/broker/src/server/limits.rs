//! How much a node takes from whom: connections in all and of one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The server's bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `max.connections`. Each costs a file descriptor, of which a process has some 20,000.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_address_max: usize,
    /// `max.connections.per.ip.overrides`: addresses with a bound of their own, higher or lower.
    pub connections_of_address_max: BTreeMap<IpAddr, usize>,
    /// Requests of one connection that are worked on at once; the next is read when one is answered.
    pub pipelined_max: usize,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// How long a stop waits for answers under way.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 15_000,
            connections_per_address_max: 12_000,
            connections_of_address_max: BTreeMap::new(),
            pipelined_max: 64,
            request_bytes_max: 100 << 20,
            idle_max: Duration::from_secs(600),
            drain_max: Duration::from_secs(2),
        }
    }
}

/// Counts the open connections.
pub(super) struct Census {
    connections_max: usize,
    per_address_max: usize,
    of_address_max: BTreeMap<IpAddr, usize>,
    open: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One counted connection; leaves the count when dropped.
pub(super) struct Admission {
    census: Arc<Census>,
    address: IpAddr,
}

impl Census {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            of_address_max: limits.connections_of_address_max.clone(),
            open: Mutex::default(),
        }
    }

    /// Counts a connection of `address`, unless that is one too many.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        // An IPv4 peer of a socket that takes both kinds comes with an IPv6 address around its own.
        let address = address.to_canonical();
        let mut open = self.open.lock().expect("no holder of this lock panics");
        let all: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or(0);
        let most = self.of_address_max.get(&address).copied().unwrap_or(self.per_address_max);
        if all >= self.connections_max || of_address >= most {
            return None;
        }
        open.insert(address, of_address + 1);
        Some(Admission { census: self.clone(), address })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.census.open.lock().expect("no holder of this lock panics");
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::{Census, Limits};

    #[test]
    fn one_address_cannot_take_every_place_and_a_place_is_free_again_after() {
        let limits = Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let census = Arc::new(Census::new(&limits));
        let [one, other] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        let held = census.admit(one);
        let _second = census.admit(one);
        assert!(census.admit(one).is_none(), "an address has two places");
        let _third = census.admit(other);
        assert!(census.admit(other).is_none(), "there are three places in all");
        drop(held);
        assert!(census.admit(other).is_some());
    }

    #[test]
    fn an_address_with_a_bound_of_its_own_has_no_other() {
        let [one, other, third] = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let own = [(IpAddr::V4(one), 2), (IpAddr::V4(other), 0)];
        let limits = Limits {
            connections_per_address_max: 1,
            connections_of_address_max: own.into_iter().collect(),
            ..Limits::default()
        };
        let census = Arc::new(Census::new(&limits));
        // However the socket writes the address.
        let held = [census.admit(one.into()), census.admit(one.to_ipv6_mapped().into())];
        let admitted = |address: IpAddr| census.admit(address).is_some();
        assert!(held.iter().all(Option::is_some), "the bound of 10.0.0.1 is 2");
        assert!(!admitted(one.into()) && !admitted(other.into()) && admitted(third.into()));
    }
}
