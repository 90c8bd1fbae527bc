//! Who this node is, as its directories say: `meta.properties`.
//!
//! Every log directory carries one. They must agree with each other and with the
//! configuration, or the node would serve another's data as its own; the check
//! comes before anything else touches a file. `storage format` writes them.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use config::Properties;
use log::Disk;
use log::disk::DirLock;
use model::{ClusterId, DirectoryId, NodeId};

/// The file's name in each log directory.
pub const META_PROPERTIES: &str = "meta.properties";
/// The file has a handful of short lines; what is larger is something else.
const BYTES_MAX: u64 = 64 << 10;
/// Held while a process uses a directory.
const LOCK: &str = ".lock";
/// The only version that KRaft clusters write.
const VERSION: &str = "1";

/// What one directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// Whose cluster's data it holds.
    pub cluster: ClusterId,
    /// Whose data it holds.
    pub node: NodeId,
    /// Its own name.
    pub directory: DirectoryId,
}

/// What all directories together say.
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The directories in the order of the configuration.
    pub directories: Vec<(PathBuf, DirectoryId)>,
    /// Keeps other processes out until dropped.
    pub locks: Vec<Box<dyn DirLock>>,
}

/// Why a node may not use its directories.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Never formatted.
    #[error("{} is missing: the directory is not formatted; run `kastle storage format -t CLUSTER-ID -c FILE` (`kastle storage random-uuid` prints a new id)", .0.display())]
    Unformatted(PathBuf),
    /// The file cannot be read or understood.
    #[error("cannot read {}: {reason}; it is written by `kastle storage format` and should hold version, cluster.id, node.id and directory.id", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another node's directory.
    #[error("{} belongs to node {found}, but node.id is {expected}; point log.dirs at this node's own directories, or correct node.id", .path.display())]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// The node in it.
        found: NodeId,
        /// The node configured.
        expected: NodeId,
    },
    /// Directories of two clusters.
    #[error("{} belongs to cluster {found}, but {} to cluster {expected}; a node's directories must all be of one cluster", .path.display(), .first.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster in it.
        found: ClusterId,
        /// The file it is compared with.
        first: PathBuf,
        /// The cluster in that.
        expected: ClusterId,
    },
    /// One directory copied to another.
    #[error("{} and {} both have directory.id {id}; one is a copy of the other: keep one of them in log.dirs", .path.display(), .first.display())]
    Twin {
        /// The file.
        path: PathBuf,
        /// The file with the same id.
        first: PathBuf,
        /// That id.
        id: DirectoryId,
    },
    /// Another process uses it.
    #[error("cannot lock {}: {source}; another process uses the directory, or it cannot be written", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No directory at all.
    #[error("log.dirs is empty: name at least one directory")]
    NoDirectory,
}

impl MetaProperties {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let (node, directory) = (self.node, self.directory);
        let cluster = config::escape_value(self.cluster.as_str());
        // The order is Kafka's.
        write!(
            text,
            "#\nnode.id={node}\ndirectory.id={directory}\nversion={VERSION}\ncluster.id={cluster}\n"
        )
        .expect("a String takes all");
        text
    }

    /// Reads the file's text; an error says what is wrong with it.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let fields =
            Properties::parse(META_PROPERTIES, text.as_bytes()).map_err(|error| error.to_string())?;
        let field = |key: &str| {
            let entry = fields.get(key).ok_or_else(|| format!("{key} is missing"))?;
            Ok::<&str, String>(&entry.value)
        };
        match field("version")? {
            VERSION => {}
            "0" => return Err("it is of version 0, written by a broker in ZooKeeper mode".to_owned()),
            other => return Err(format!("version is {other}, expected {VERSION}")),
        }
        let node = field("node.id")?;
        let number = node.parse().ok().and_then(NodeId::from_wire);
        Ok(Self {
            cluster: field("cluster.id")?.parse().map_err(|error| format!("cluster.id: {error}"))?,
            node: number.ok_or_else(|| format!("node.id is {node}, expected a number from 0"))?,
            directory: field("directory.id")?.parse().map_err(|error| format!("directory.id: {error}"))?,
        })
    }

    /// Reads `dir`'s file; `None` when it has none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(META_PROPERTIES);
        let unreadable = |reason: String| IdentityError::Unreadable { path: path.clone(), reason };
        let bytes = match log::disk::read_file(disk, &path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not text".to_owned()))?;
        Self::from_text(&text).map(Some).map_err(unreadable)
    }
}

/// Checks that `dirs` are all node `node`'s and of one cluster, and locks them.
pub fn check(disk: &dyn Disk, dirs: &[PathBuf], node: NodeId) -> Result<Identity, IdentityError> {
    let mut seen: Vec<(PathBuf, MetaProperties)> = Vec::new();
    for dir in dirs {
        let path = dir.join(META_PROPERTIES);
        let found =
            MetaProperties::read(disk, dir)?.ok_or_else(|| IdentityError::Unformatted(path.clone()))?;
        agree(&path, &found, node, &seen)?;
        seen.push((path, found));
    }
    let cluster = seen.first().ok_or(IdentityError::NoDirectory)?.1.cluster.clone();
    let directories = dirs.iter().cloned().zip(seen.iter().map(|(_, found)| found.directory)).collect();
    let lock = |dir: &PathBuf| {
        let path = dir.join(LOCK);
        disk.lock(&path).map_err(|source| IdentityError::Locked { path, source })
    };
    let locks = dirs.iter().map(lock).collect::<Result<_, _>>()?;
    Ok(Identity { cluster, directories, locks })
}

fn agree(
    path: &Path,
    found: &MetaProperties,
    node: NodeId,
    seen: &[(PathBuf, MetaProperties)],
) -> Result<(), IdentityError> {
    let path = path.to_owned();
    if found.node != node {
        return Err(IdentityError::OtherNode { path, found: found.node, expected: node });
    }
    for (first, earlier) in seen {
        let first = first.clone();
        if earlier.cluster != found.cluster {
            let (found, expected) = (found.cluster.clone(), earlier.cluster.clone());
            return Err(IdentityError::OtherCluster { path, found, first, expected });
        }
        if earlier.directory == found.directory {
            return Err(IdentityError::Twin { path, first, id: found.directory });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use log::Disk;
    use log::disk::{MemDisk, write_atomically};
    use model::{ClusterId, NodeId, Uuid};

    use super::{META_PROPERTIES, MetaProperties, check};

    const CLUSTER: Uuid = Uuid::from_u128(1_000);

    fn meta(cluster: Uuid, node: i32, directory: u128) -> String {
        let directory = Uuid::from_u128(directory);
        MetaProperties { cluster: cluster.into(), node: NodeId::new(node), directory }.to_text()
    }

    /// Directories `/d0`, `/d1`... with these files, opened by node 1.
    fn outcome(files: &[&str]) -> String {
        let disk = MemDisk::new();
        let dirs: Vec<PathBuf> =
            (0..files.len()).map(|number| PathBuf::from(format!("/d{number}"))).collect();
        for (dir, text) in dirs.iter().zip(files) {
            disk.create_dir_all(dir).expect("an empty disk takes directories");
            if !text.is_empty() {
                write_atomically(&disk, &dir.join(META_PROPERTIES), text.as_bytes()).expect("there is room");
            }
        }
        match check(&disk, &dirs, NodeId::new(1)) {
            Ok(identity) => {
                format!("cluster {}, {} directories", identity.cluster, identity.directories.len())
            }
            Err(error) => error.to_string(),
        }
    }

    fn check_says(files: &[&str], expected: &[&str]) {
        let said = outcome(files);
        for part in expected {
            assert!(said.contains(part), "'{said}' does not say '{part}'");
        }
    }

    #[test]
    fn directories_of_one_node_and_cluster_are_taken() {
        let (one, two) = (meta(CLUSTER, 1, 500), meta(CLUSTER, 1, 501));
        check_says(&[&one, &two], &[&CLUSTER.to_string(), "2 directories"]);
    }

    #[test]
    fn any_cluster_id_survives_the_file_in_javas_own_spelling() {
        let spelt = [
            ("a b", "cluster.id=a b\n"),
            ("  lead", "cluster.id=\\  lead\n"),
            ("trail ", "cluster.id=trail \n"),
            (r"b\c=d:e#f!é", "cluster.id=b\\\\c\\=d\\:e\\#f\\!é\n"),
        ];
        for (id, line) in spelt {
            let cluster: ClusterId = id.parse().expect("any line of text");
            let meta = MetaProperties { cluster, node: NodeId::new(1), directory: Uuid::from_u128(500) };
            let text = meta.to_text();
            assert!(text.ends_with(line), "{text}");
            assert_eq!(MetaProperties::from_text(&text), Ok(meta));
        }
    }

    #[test]
    fn an_unformatted_directory_says_which_command_to_run() {
        check_says(&[""], &["/d0/meta.properties", "kastle storage format"]);
    }

    #[test]
    fn what_belongs_to_another_is_refused_with_found_and_expected() {
        check_says(&[&meta(CLUSTER, 2, 500)], &["/d0/meta.properties", "node 2", "node.id is 1"]);
        let other = Uuid::from_u128(2_000);
        let files = [meta(CLUSTER, 1, 500), meta(other, 1, 501)];
        let expected = [&other.to_string(), &CLUSTER.to_string()];
        check_says(&[&files[0], &files[1]], &["/d1/meta.properties", expected[0], expected[1]]);
        let twin = meta(CLUSTER, 1, 500);
        check_says(&[&twin, &twin], &["/d0/meta.properties", "/d1/meta.properties", "copy"]);
    }

    #[test]
    fn a_damaged_file_is_named_with_what_is_wrong() {
        check_says(&["version=1\nnode.id=1\n"], &["/d0/meta.properties", "cluster.id is missing"]);
        check_says(&["version=0\nbroker.id=1\n"], &["ZooKeeper"]);
        let text = meta(CLUSTER, 1, 500).replace("node.id=1", "node.id=x");
        check_says(&[&text], &["node.id is x, expected a number"]);
    }
}
