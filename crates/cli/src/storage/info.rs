//! `kastle storage info`: what a node's directories hold. Ends with 1 when something is amiss.

use std::path::{Path, PathBuf};

use broker::identity::MetaProperties;
use clap::Args;
use log::Disk;
use log::disk::RealDisk;

use crate::config_file;
use crate::failure::{Failure, Outcome, say};

#[derive(Args)]
pub struct Arguments {
    /// The node's server.properties.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let config = config_file::load(&arguments.config, &[], "inspect the directories")?;
    let report = Report::of(&RealDisk, &config.all_dirs());
    say(report.text())?;
    if report.problems.is_empty() { Ok(()) } else { Err(Failure::refused("")) }
}

/// What was found.
#[derive(Default)]
struct Report {
    dirs: Vec<String>,
    metadata: Option<MetaProperties>,
    problems: Vec<String>,
}

impl Report {
    fn of(disk: &dyn Disk, dirs: &[PathBuf]) -> Self {
        let mut report = Self::default();
        let mut sorted = dirs.to_vec();
        sorted.sort();
        for dir in &sorted {
            report.look_at(disk, dir);
        }
        report
    }

    fn look_at(&mut self, disk: &dyn Disk, dir: &Path) {
        let shown = dir.display();
        match disk.exists(dir) {
            Ok(true) => {}
            Ok(false) => return self.problems.push(format!("{shown} does not exist")),
            Err(error) => return self.problems.push(format!("{shown}: {error}")),
        }
        // A file answers a listing with an error.
        if let Err(error) = disk.list(dir) {
            return self.problems.push(format!("{shown} is not a directory that can be read: {error}"));
        }
        self.dirs.push(shown.to_string());
        match (MetaProperties::read(disk, dir), &self.metadata) {
            (Err(error), _) => self.problems.push(error.to_string()),
            (Ok(None), _) => self.problems.push(format!("{shown} is not formatted.")),
            (Ok(found), None) => self.metadata = found,
            (Ok(Some(found)), Some(first)) if found.cluster != first.cluster || found.node != first.node => {
                let MetaProperties { cluster, node, .. } = found;
                self.problems
                    .push(format!("{shown} is of node {node} of cluster {cluster}, unlike the others"));
            }
            _ => {}
        }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        let list = |noun: &str, plural: &str, lines: &[String]| {
            let title = if lines.len() == 1 { noun } else { plural };
            format!("{title}:\n{}", lines.iter().map(|line| format!("  {line}\n")).collect::<String>())
        };
        if !self.dirs.is_empty() {
            parts.push(list("Found log directory", "Found log directories", &self.dirs));
        }
        if let Some(MetaProperties { cluster, node, directory }) = &self.metadata {
            parts.push(format!(
                "Found metadata: {{cluster.id={cluster}, directory.id={directory}, node.id={node}, version=1}}\n"
            ));
        }
        if !self.problems.is_empty() {
            parts.push(list("Found problem", "Found problems", &self.problems));
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use broker::identity::{META_PROPERTIES, MetaProperties};
    use log::Disk;
    use log::disk::{MemDisk, write_atomically};
    use model::{NodeId, Uuid};

    use super::Report;

    /// Directories that exist, and those of them that are formatted, with the cluster.
    fn check(existing: &[&str], formatted: &[(&str, u128)], asked: &[&str], expected: &str) {
        let disk = MemDisk::new();
        for dir in existing {
            disk.create_dir_all(Path::new(dir)).expect("no fault");
        }
        for (dir, cluster) in formatted {
            let meta = MetaProperties {
                cluster: Uuid::from_u128(*cluster).into(),
                node: NodeId::new(1),
                directory: Uuid::from_u128(1 << 100),
            };
            write_atomically(&disk, &Path::new(dir).join(META_PROPERTIES), meta.to_text().as_bytes())
                .expect("no fault");
        }
        let asked: Vec<PathBuf> = asked.iter().map(PathBuf::from).collect();
        assert_eq!(Report::of(&disk, &asked).text(), expected);
    }

    const META: &str = "Found metadata: {cluster.id=AAAAAAAAAAAAAAAAAAAAyA, directory.id=AAAAEAAAAAAAAAAAAAAAAA, \
                        node.id=1, version=1}\n";

    #[test]
    fn directories_are_listed_with_what_is_amiss() {
        check(
            &["/a", "/b"],
            &[("/a", 200), ("/b", 200)],
            &["/b", "/a"],
            &format!("Found log directories:\n  /a\n  /b\n\n{META}"),
        );
        check(
            &["/a"],
            &[("/a", 200)],
            &["/a", "/b"],
            &format!("Found log directory:\n  /a\n\n{META}\nFound problem:\n  /b does not exist\n"),
        );
        check(
            &["/a"],
            &[],
            &["/a"],
            "Found log directory:\n  /a\n\nFound problem:\n  /a is not formatted.\n",
        );
        check(&[], &[], &["/a", "/b"], "Found problems:\n  /a does not exist\n  /b does not exist\n");
    }
}
