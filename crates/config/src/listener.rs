//! Listeners: where a node listens, what it tells others, and which listener is whose.
//!
//! Kafka's cross checks in one place, in Kafka's words: names and ports unique, controllers
//! and brokers apart, nothing advertised that nobody can route to.

use std::collections::BTreeMap;
use std::fmt;

use crate::node::Roles;
use crate::reader::Reader;

/// How bytes on a listener are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Protocol {
    /// Not at all.
    Plaintext = 0,
    /// TLS.
    Ssl = 1,
    /// SASL over plain TCP.
    SaslPlaintext = 2,
    /// SASL over TLS.
    SaslSsl = 3,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Self::Plaintext,
            "SSL" => Self::Ssl,
            "SASL_PLAINTEXT" => Self::SaslPlaintext,
            "SASL_SSL" => Self::SaslSsl,
            _ => return None,
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// A named address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// How it is protected.
    pub protocol: Protocol,
    /// Host or address without brackets. Empty: every interface where it is listened on, this
    /// machine's name where it is advertised.
    pub host: String,
    /// Port; 0 for any free one.
    pub port: u16,
}

impl Listener {
    /// `HOST:PORT` to bind to; without a host (`:PORT`) it is every interface.
    pub fn address(&self) -> String {
        join(&self.host, self.port)
    }
}

/// `NAME://HOST:PORT`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, join(&self.host, self.port))
    }
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Cuts `HOST:PORT`, brackets of an IPv6 address removed.
pub(crate) fn split_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return None;
    }
    Some((bare.unwrap_or(host).to_owned(), port.parse().ok()?))
}

/// All of a node's listeners.
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    pub(crate) advertised: Vec<Listener>,
    pub(crate) advertised_controllers: Vec<Listener>,
    pub(crate) controller_names: Vec<String>,
    pub(crate) controller_protocol: Protocol,
    pub(crate) inter_broker: String,
}

/// Reads every key about listeners and checks them against each other.
pub(crate) fn read(reader: &mut Reader<'_>, roles: Roles) -> Listeners {
    let controller_names = capitals(reader.list("controller.listener.names"));
    let protocols = read_protocols(reader, &controller_names);
    let all = read_list(reader, "listeners", &protocols);
    check_unique(reader, &all);
    check_roles(reader, roles, &all, &controller_names);
    let is_controllers = |listener: &Listener| controller_names.contains(&listener.name);
    let told = if reader.is_set("advertised.listeners") {
        read_list(reader, "advertised.listeners", &protocols)
    } else {
        all.clone()
    };
    let (mut advertised_controllers, mut advertised): (Vec<_>, Vec<_>) =
        told.into_iter().partition(is_controllers);
    if !roles.is_broker() {
        advertised.clear();
    }
    // Kafka advertises a controller listener as it is listened on unless told otherwise.
    for listener in all.iter().filter(|listener| is_controllers(listener)) {
        if !advertised_controllers.iter().any(|told| told.name == listener.name) {
            advertised_controllers.push(listener.clone());
        }
    }
    check_advertised(reader, roles, &advertised, &all);
    let inter_broker = read_inter_broker(reader, roles, &protocols, &advertised);
    let controller_protocol =
        controller_names.first().and_then(|name| protocols.get(name).copied()).unwrap_or(Protocol::Plaintext);
    let mut used: BTreeMap<&str, Protocol> =
        all.iter().chain(&advertised).map(|listener| (listener.name.as_str(), listener.protocol)).collect();
    used.extend(controller_names.first().map(|name| (name.as_str(), controller_protocol)));
    check_protection(reader, &used);
    Listeners { all, advertised, advertised_controllers, controller_names, controller_protocol, inter_broker }
}

fn capitals(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.to_uppercase()).collect()
}

fn read_protocols(reader: &mut Reader<'_>, controller_names: &[String]) -> BTreeMap<String, Protocol> {
    const KEY: &str = "listener.security.protocol.map";
    let text = reader.text(KEY).unwrap_or_default();
    let mut protocols = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, protocol)) = pair.rsplit_once(':') else {
            let expected = format!("'{pair}' is no NAME:PROTOCOL pair");
            reader.problem(KEY, expected, "write for example CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT");
            continue;
        };
        match Protocol::parse(protocol.trim()) {
            Some(protocol) => {
                protocols.insert(name.trim().to_uppercase(), protocol);
            }
            None => {
                let expected = format!("Invalid security protocol `{protocol}` defined in {KEY}");
                reader.problem(KEY, expected, "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL");
            }
        }
    }
    if !reader.is_set(KEY) {
        // Without a map, a controller listener of any name is plaintext (KIP-631).
        for name in controller_names {
            protocols.entry(name.clone()).or_insert(Protocol::Plaintext);
        }
    }
    protocols
}

fn read_list(reader: &mut Reader<'_>, key: &str, protocols: &BTreeMap<String, Protocol>) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for text in reader.list(key).iter().filter(|text| !text.is_empty()) {
        let parts = text.split_once("://").filter(|(name, _)| !name.is_empty());
        let parsed = parts.and_then(|(name, address)| Some((name.to_uppercase(), split_address(address)?)));
        let Some((name, (host, port))) = parsed else {
            let expected = format!("Unable to parse {text} to a broker endpoint");
            reader.problem(key, expected, "write each as NAME://HOST:PORT with a port of 0 to 65535");
            continue;
        };
        let Some(&protocol) = protocols.get(&name) else {
            let expected = format!("No security protocol defined for listener {name}");
            reader.problem(key, expected, format!("add {name}:PLAINTEXT to listener.security.protocol.map"));
            continue;
        };
        listeners.push(Listener { name, protocol, host, port });
    }
    listeners
}

fn check_unique(reader: &mut Reader<'_>, all: &[Listener]) {
    let shown = || all.iter().map(Listener::to_string).collect::<Vec<_>>().join(", ");
    let pairs =
        || all.iter().enumerate().flat_map(|(at, one)| all[at + 1..].iter().map(move |two| (one, two)));
    if pairs().any(|(one, two)| one.name == two.name) {
        let expected = format!("Each listener must have a different name, listeners: [{}]", shown());
        reader.problem("listeners", expected, "give each a name of its own");
    }
    // One port may serve IPv4 and IPv6 apart.
    let is_v6 = |listener: &Listener| listener.host.contains(':');
    let clash = |(one, two): (&Listener, &Listener)| {
        one.port != 0 && one.port == two.port && is_v6(one) == is_v6(two)
    };
    if pairs().any(clash) {
        let expected = format!("Each listener must have a different port, listeners: [{}]", shown());
        reader.problem("listeners", expected, "give each a port of its own");
    }
}

fn check_roles(reader: &mut Reader<'_>, roles: Roles, all: &[Listener], controller_names: &[String]) {
    let is_controllers = |listener: &Listener| controller_names.contains(&listener.name);
    let (any, every) = (all.iter().any(is_controllers), all.iter().all(is_controllers));
    let wrong = match roles {
        _ if all.is_empty() || controller_names.is_empty() => None,
        Roles::Broker => any.then_some((
            "controller.listener.names",
            "controller.listener.names must not contain a value appearing in the 'listeners' configuration when \
             running KRaft with just the broker role",
            "remove the controller's listener from listeners, or add controller to process.roles",
        )),
        Roles::Controller => (!every).then_some((
            "listeners",
            "The listeners config must only contain KRaft controller listeners from controller.listener.names when \
             process.roles=controller",
            "set listeners to the listeners named by controller.listener.names, for example CONTROLLER://:9093",
        )),
        Roles::Both => (!any).then_some((
            "controller.listener.names",
            "controller.listener.names must contain at least one value appearing in the 'listeners' configuration \
             when running the KRaft controller role",
            "add the controller's listener to listeners, for example CONTROLLER://:9093",
        )),
    };
    if let Some((key, expected, advice)) = wrong {
        reader.problem(key, expected, advice);
    }
}

fn check_advertised(reader: &mut Reader<'_>, roles: Roles, advertised: &[Listener], all: &[Listener]) {
    const KEY: &str = "advertised.listeners";
    if !roles.is_broker() || all.is_empty() {
        return;
    }
    if advertised.is_empty() {
        let expected = "There must be at least one broker advertised listener. Perhaps all listeners appear in \
                        controller.listener.names?";
        reader.problem(
            KEY,
            expected,
            "add a listener for clients, for example PLAINTEXT://:9092, to listeners",
        );
    }
    if advertised.iter().any(|listener| listener.host == "0.0.0.0" || listener.host == "::") {
        let expected = "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP \
                        address.";
        reader.problem(KEY, expected, "set advertised.listeners to an address that clients can reach");
    }
    if let Some(stranger) = advertised.iter().find(|told| !all.iter().any(|own| own.name == told.name)) {
        let expected = format!("advertised.listeners listener {} is not among listeners", stranger.name);
        reader.problem(KEY, expected, format!("add {} to listeners or remove it here", stranger.name));
    }
}

fn read_inter_broker(
    reader: &mut Reader<'_>,
    roles: Roles,
    protocols: &BTreeMap<String, Protocol>,
    advertised: &[Listener],
) -> String {
    const KEY: &str = "inter.broker.listener.name";
    let by_protocol = reader.text("security.inter.broker.protocol").unwrap_or_default();
    let Some(name) = reader.text(KEY).map(|name| name.to_uppercase()) else {
        let known = advertised.iter().any(|listener| listener.name == by_protocol);
        if roles.is_broker() && !advertised.is_empty() && !known {
            let options =
                advertised.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(",");
            let expected = format!(
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid \
                 options based on currently configured listeners are {options}"
            );
            reader.problem(KEY, expected, format!("set {KEY} to one of {options}"));
        }
        return by_protocol;
    };
    if reader.is_set("security.inter.broker.protocol") {
        let expected =
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.";
        reader.problem(KEY, expected, "remove security.inter.broker.protocol");
    }
    if !protocols.contains_key(&name) {
        let expected = format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in \
             listener.security.protocol.map."
        );
        reader.problem(KEY, expected, format!("add {name}:PLAINTEXT to listener.security.protocol.map"));
    } else if roles.is_broker() && !advertised.iter().any(|listener| listener.name == name) {
        let options = advertised.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(",");
        let expected = format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options \
             based on currently configured listeners are {options}"
        );
        reader.problem(KEY, expected, format!("set {KEY} to one of {options}"));
    }
    name
}

fn check_protection(reader: &mut Reader<'_>, used: &BTreeMap<&str, Protocol>) {
    for (name, protocol) in used.iter().filter(|(_, protocol)| **protocol != Protocol::Plaintext) {
        reader.problem(
            "listener.security.protocol.map",
            format!("listener {name} speaks {protocol}, and Kastle serves PLAINTEXT listeners for now"),
            format!("map {name} to PLAINTEXT on a network that you trust"),
        );
    }
}
