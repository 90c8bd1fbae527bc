//! `kastle storage format`: writes what a node's directories need before its first start.
//!
//! | file | where |
//! |---|---|
//! | `meta.properties` | every directory; last, for it is what makes a directory formatted |
//! | `bootstrap.checkpoint` | every directory |
//! | `__cluster_metadata-0/00000000000000000000-0000000000.checkpoint` | the metadata directory, where voters are dynamic |
//!
//! Fails whole: what was written is taken back.

use std::path::{Path, PathBuf};

use broker::identity::{META_PROPERTIES, MetaProperties};
use clap::Args;
use config::NodeConfig;
use log::Disk;
use log::disk::{RealDisk, write_atomically};
use model::{ClusterId, DirectoryId, Timestamp};
use net::{Clock, SystemClock};
use proto::metadata::{MetadataRecord, UserScramCredentialRecord};
use quorum::Voters;

use crate::config_file;
use crate::failure::{Failure, Outcome, say};
use crate::storage::features::Levels;
use crate::storage::{random_id, scram};

#[derive(Args)]
pub struct Arguments {
    /// The cluster's id: the same on every node; `kastle storage random-uuid` prints a new one.
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: String,
    /// The node's server.properties.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Make this controller the only voter, for now.
    #[arg(short, long, group = "voters")]
    standalone: bool,
    /// The first voters, as ID@HOST:PORT:DIRECTORY-ID,...; the same on every controller.
    #[arg(short = 'I', long, value_name = "LIST", group = "voters")]
    initial_controllers: Option<String>,
    /// Name no voters: this controller joins others.
    #[arg(short = 'N', long, group = "voters")]
    no_initial_controllers: bool,
    /// Pass over directories that are formatted already.
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
    /// Begin with the metadata.version of this release, for example 4.3.
    #[arg(short, long, value_name = "V")]
    release_version: Option<String>,
    /// Begin with this feature level, as FEATURE=LEVEL; repeatable.
    #[arg(short, long, value_name = "F=L")]
    feature: Vec<String>,
    /// A user's credential, as SCRAM-SHA-256=[name=alice,password=alice-secret]; repeatable.
    #[arg(short = 'S', long, value_name = "CREDENTIAL")]
    add_scram: Vec<String>,
}

/// Who votes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VotersOf {
    /// The config names them, or this node is none of them.
    Nobody,
    /// This node alone.
    Standalone,
    /// These.
    Listed(Voters),
}

/// What is to be written.
pub struct Plan<'a> {
    /// The node.
    pub config: &'a NodeConfig,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who votes first.
    pub voters: VotersOf,
    /// Whether formatted directories are passed over.
    pub ignore_formatted: bool,
    /// The levels to begin with.
    levels: Levels,
    /// The users to begin with.
    users: Vec<UserScramCredentialRecord>,
}

impl<'a> Plan<'a> {
    /// A plan with the latest levels, for a node with static voters.
    pub fn latest(config: &'a NodeConfig, cluster: ClusterId) -> Self {
        let levels = Levels::choose(None, &[]).expect("the defaults go together");
        let (voters, users) = (VotersOf::Nobody, Vec::new());
        Self { config, cluster, voters, ignore_formatted: true, levels, users }
    }

    /// What the first leader appends.
    fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = self.levels.to_records();
        records.extend(self.users.iter().cloned().map(MetadataRecord::UserScramCredential));
        records
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let config = config_file::load(&arguments.config, &[], "format the directories")?;
    let cluster = arguments.cluster_id.parse().map_err(|error| {
        refuse(format!("--cluster-id: {error}; `kastle storage random-uuid` prints an id"))
    })?;
    let levels = Levels::choose(arguments.release_version.as_deref(), &arguments.feature).map_err(refuse)?;
    let voters = choose_voters(arguments, &config)?;
    check_kraft(&levels, &config, arguments)?;
    let users = users(&arguments.add_scram).map_err(refuse)?;
    let ignore_formatted = arguments.ignore_formatted;
    let plan = Plan { config: &config, cluster, voters, ignore_formatted, levels, users };
    let written = format(&RealDisk, &plan)?;
    if written.is_empty() {
        return say("All of the log directories are already formatted.");
    }
    for (dir, what) in written {
        let release = plan.levels.release();
        say(format_args!("Formatting {what} {} with metadata.version {release}.", dir.display()))?;
    }
    Ok(())
}

fn users(credentials: &[String]) -> Result<Vec<UserScramCredentialRecord>, String> {
    let draw = |salt: &mut [u8]| {
        getrandom::fill(salt).map_err(|error| format!("no random bytes for a salt: {error}; give a salt"))
    };
    credentials.iter().map(|text| scram::credential(text, draw)).collect()
}

fn refuse(cause: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("cannot format the directories: {cause}"))
}

fn choose_voters(arguments: &Arguments, config: &NodeConfig) -> Outcome<VotersOf> {
    let is_dynamic = config.quorum.voters.is_empty();
    let names_voters = arguments.standalone || arguments.initial_controllers.is_some();
    if names_voters && !is_dynamic {
        return Err(refuse(
            "controller.quorum.voters is set, and --initial-controllers and --standalone are for voters that live in \
             the log; remove controller.quorum.voters and set controller.quorum.bootstrap.servers instead",
        ));
    }
    if arguments.standalone && !config.roles.is_controller() {
        return Err(refuse(
            "--standalone is for controllers; leave it out, or add controller to process.roles",
        ));
    }
    if !names_voters && !arguments.no_initial_controllers && is_dynamic && config.roles.is_controller() {
        return Err(refuse(
            "controller.quorum.voters is not set on this controller; specify one of --standalone, \
             --initial-controllers or --no-initial-controllers",
        ));
    }
    let Some(list) = &arguments.initial_controllers else {
        return Ok(if arguments.standalone { VotersOf::Standalone } else { VotersOf::Nobody });
    };
    let listener = config.controller_listener_names.first().map_or("", String::as_str);
    Voters::parse_initial(list, listener).map(VotersOf::Listed).map_err(refuse)
}

/// kraft.version follows from how voters are named; asking for the other one is a mistake.
fn check_kraft(levels: &Levels, config: &NodeConfig, arguments: &Arguments) -> Outcome {
    let flagged =
        arguments.standalone || arguments.initial_controllers.is_some() || arguments.no_initial_controllers;
    let is_dynamic = config.quorum.voters.is_empty() && flagged;
    match levels.kraft {
        Some(0) if is_dynamic => Err(refuse(
            "kraft.version=0 has static voters only; leave --feature kraft.version out, or set \
             controller.quorum.voters and no voters here",
        )),
        Some(1) if !is_dynamic => Err(refuse(
            "kraft.version=1 needs voters that live in the log; use --standalone, --initial-controllers or \
             --no-initial-controllers and remove controller.quorum.voters",
        )),
        Some(level) if !(0..=1).contains(&level) => {
            Err(refuse(format!("kraft.version has no level {level}; choose 0 or 1")))
        }
        _ => Ok(()),
    }
}

/// Writes what is missing; says which directories it wrote and what they are. On a failure
/// nothing stays behind.
pub fn format(disk: &dyn Disk, plan: &Plan<'_>) -> Outcome<Vec<(PathBuf, &'static str)>> {
    let missing = find_unformatted(disk, plan)?;
    let mut undo = Undo { disk, made: Vec::new() };
    let mut written = Vec::new();
    for dir in missing {
        let is_metadata = dir == plan.config.metadata_log_dir;
        match undo.format_dir(plan, &dir, is_metadata) {
            Ok(what) => written.push((dir, what)),
            Err(cause) => {
                undo.all();
                return Err(refuse(format!(
                    "{}: {cause}; make it a directory that this user can write, nothing was left behind",
                    dir.display()
                )));
            }
        }
    }
    Ok(written)
}

/// The directories without `meta.properties`, the metadata directory last; those with one must be
/// this node's and this cluster's.
fn find_unformatted(disk: &dyn Disk, plan: &Plan<'_>) -> Outcome<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for dir in plan.config.all_dirs() {
        let path = dir.join(META_PROPERTIES);
        let Some(found) = MetaProperties::read(disk, &dir).map_err(refuse)? else {
            missing.push(dir);
            continue;
        };
        if found.cluster != plan.cluster {
            return Err(refuse(format!(
                "Invalid cluster.id in: {}. Expected {}, but read {}; use that id, or other directories",
                path.display(),
                plan.cluster,
                found.cluster
            )));
        }
        if found.node != plan.config.node_id {
            return Err(refuse(format!(
                "Invalid node.id in: {}. Expected {}, but read {}; correct node.id, or use other directories",
                path.display(),
                plan.config.node_id,
                found.node
            )));
        }
        if !plan.ignore_formatted {
            return Err(refuse(format!(
                "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format \
                 the others.",
                dir.display()
            )));
        }
    }
    missing.sort_by_key(|dir| *dir == plan.config.metadata_log_dir);
    Ok(missing)
}

/// What was made, to be unmade.
struct Undo<'a> {
    disk: &'a dyn Disk,
    made: Vec<Made>,
}

enum Made {
    File(PathBuf),
    Dir(PathBuf),
}

impl Undo<'_> {
    fn format_dir(&mut self, plan: &Plan<'_>, dir: &Path, is_metadata: bool) -> Result<&'static str, String> {
        let now = SystemClock::new().wall();
        let disk = self.disk;
        self.make_dir(dir)?;
        let identity = self.identify(plan, is_metadata)?;
        self.made.push(Made::File(dir.join("bootstrap.checkpoint")));
        quorum::format::write_bootstrap(disk, dir, &plan.to_records(), now)
            .map_err(|error| error.to_string())?;
        let voters = if is_metadata { self.voters(plan, identity.directory)? } else { None };
        let what = match (is_metadata, &plan.voters, &voters) {
            (false, ..) => "data directory",
            (true, _, None) => "metadata directory",
            (true, _, Some(voters)) if voters.0.contains_key(&plan.config.node_id) => {
                "dynamic metadata voter directory"
            }
            (true, ..) => "dynamic metadata directory",
        };
        if let Some(voters) = voters {
            self.write_voters(dir, &voters, now)?;
        }
        let path = dir.join(META_PROPERTIES);
        self.made.push(Made::File(path.clone()));
        write_atomically(disk, &path, identity.to_text().as_bytes()).map_err(|error| error.to_string())?;
        Ok(what)
    }

    /// The directory's new identity; the listed one where this node is among the first voters.
    fn identify(&self, plan: &Plan<'_>, is_metadata: bool) -> Result<MetaProperties, String> {
        let listed = match &plan.voters {
            VotersOf::Listed(voters) if is_metadata => {
                voters.0.get(&plan.config.node_id).map(|voter| voter.directory)
            }
            _ => None,
        };
        let directory = match listed {
            Some(directory) => directory,
            None => random_id().map_err(|failure| failure.to_string())?,
        };
        Ok(MetaProperties { cluster: plan.cluster.clone(), node: plan.config.node_id, directory })
    }

    fn voters(&self, plan: &Plan<'_>, directory: DirectoryId) -> Result<Option<Voters>, String> {
        match &plan.voters {
            VotersOf::Nobody => Ok(None),
            VotersOf::Listed(voters) => Ok(Some(voters.clone())),
            VotersOf::Standalone => {
                let own =
                    plan.config.advertised_controllers.first().ok_or("it has no controller listener")?;
                let host = if own.host.contains(':') { format!("[{}]", own.host) } else { own.host.clone() };
                let text = format!("{}@{host}:{}:{directory}", plan.config.node_id, own.port);
                Voters::parse_initial(&text, &own.name).map(Some).map_err(|error| error.to_string())
            }
        }
    }

    fn write_voters(&mut self, dir: &Path, voters: &Voters, now: Timestamp) -> Result<(), String> {
        let log_dir = dir.join("__cluster_metadata-0");
        self.make_dir(&log_dir)?;
        self.made.push(Made::File(log_dir.join("00000000000000000000-0000000000.checkpoint")));
        quorum::format::write_voters(self.disk, dir, voters, now).map_err(|error| error.to_string())
    }

    fn make_dir(&mut self, dir: &Path) -> Result<(), String> {
        if self.disk.exists(dir).map_err(|error| error.to_string())? {
            return Ok(());
        }
        self.disk.create_dir_all(dir).map_err(|error| error.to_string())?;
        self.made.push(Made::Dir(dir.to_owned()));
        Ok(())
    }

    /// Takes everything back, the newest first. What cannot be removed was not there, or the disk
    /// fails anyway and the first failure is the one to tell of.
    fn all(self) {
        for made in self.made.into_iter().rev() {
            let _ = match made {
                Made::File(path) => self.disk.remove_file(&path),
                Made::Dir(path) => self.disk.remove_dir_all(&path),
            };
        }
    }
}

#[cfg(test)]
mod tests;
