//! The table of all keys, read once from `keys.txt`.
//!
//! The file is ours and a test reads all of it, so a line that cannot be read is a bug
//! of the build and not an error of a user.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::key::{Default, Importance, Key, Kind, Scope, Update, Valid};

type Table = BTreeMap<Scope, BTreeMap<&'static str, Key>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for line in include_str!("keys.txt").lines().filter(|line| !line.starts_with('#')) {
        let key = read_line(line).unwrap_or_else(|| panic!("keys.txt: {line}"));
        let again = table.entry(key.scope).or_default().insert(key.name, key);
        assert!(again.is_none(), "keys.txt has a key twice: {line}");
    }
    table
});

/// The most a mistyped name may differ from the key it is taken for: a third of its letters.
const DISTANCE_SHARE: usize = 3;

/// The key of that name.
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    TABLE.get(&scope)?.get(name)
}

/// All keys of a scope, by name.
pub fn keys(scope: Scope) -> impl Iterator<Item = &'static Key> {
    TABLE.get(&scope).into_iter().flat_map(BTreeMap::values)
}

/// The key whose name is nearest to `name`, when it is near enough to be what was meant.
pub fn nearest(scope: Scope, name: &str) -> Option<&'static Key> {
    let distance = |key: &&'static Key| strsim::damerau_levenshtein(key.name, name);
    let nearest = keys(scope).min_by_key(distance)?;
    (distance(&nearest) * DISTANCE_SHARE <= name.chars().count()).then_some(nearest)
}

fn read_line(line: &'static str) -> Option<Key> {
    let mut columns = line.splitn(9, ' ');
    let mut next = || columns.next();
    let scope = match next()? {
        "broker" => Scope::Broker,
        "topic" => Scope::Topic,
        "group" => Scope::Group,
        "client" => Scope::Client,
        _ => return None,
    };
    let name = next()?;
    let kind = read_kind(next()?)?;
    let default = match next()? {
        "!" => Default::Required,
        "-" => Default::Absent,
        "\"\"" => Default::Text(""),
        text => Default::Text(text),
    };
    let valid = read_valid(kind, next()?)?;
    let importance = next()?;
    let internal = importance.starts_with("internal-");
    let importance = match importance.trim_start_matches("internal-") {
        "high" => Importance::High,
        "medium" => Importance::Medium,
        "low" => Importance::Low,
        _ => return None,
    };
    let update = match next()? {
        "fixed" => Update::Fixed,
        "broker" => Update::Broker,
        "cluster" => Update::Cluster,
        _ => return None,
    };
    let kept = match next()? {
        "kept" => true,
        "idle" => false,
        _ => return None,
    };
    let doc = next().unwrap_or_default();
    Some(Key { scope, name, kind, default, valid, importance, internal, update, kept, doc })
}

fn read_kind(text: &str) -> Option<Kind> {
    Some(match text {
        "bool" => Kind::Bool,
        "string" => Kind::String,
        "int" => Kind::Int,
        "short" => Kind::Short,
        "long" => Kind::Long,
        "double" => Kind::Double,
        "list" => Kind::List,
        "class" => Kind::Class,
        "password" => Kind::Password,
        _ => return None,
    })
}

fn read_valid(kind: Kind, text: &'static str) -> Option<Valid> {
    let words = |text: &'static str| text.split('|').collect::<Vec<_>>();
    let bound = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    Some(match text {
        "any" => Valid::Any,
        "nonempty" => Valid::NonEmpty,
        "replicas" => Valid::ThrottledReplicas,
        "set" => Valid::Set { filled: false, items: Vec::new() },
        "some" => Valid::Set { filled: true, items: Vec::new() },
        _ if matches!(kind, Kind::Short | Kind::Int | Kind::Long | Kind::Double) => {
            let (low, high) = text.split_once("..")?;
            match high.split_once(',') {
                Some((high, besides)) => {
                    Valid::WithinOr(low.parse().ok()?, high.parse().ok()?, besides.parse().ok()?)
                }
                None => Valid::Within(bound(low)?, bound(high)?),
            }
        }
        _ => match (text.strip_prefix("some:"), text.strip_prefix('~')) {
            (Some(items), _) => Valid::Set { filled: true, items: words(items) },
            (_, Some(values)) => Valid::OneOfAnyCase(words(values)),
            _ => Valid::OneOf(words(text)),
        },
    })
}
