//! `kastle-cluster`: the cluster tests at full size, with the figures they come to.
//!
//! Run in release mode: `cargo run --release -p kastle-cluster -- chaos`.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use kastle_cluster::work::trouble::Trouble;
use kastle_cluster::work::{chaos, copier, exactly_once, failover, scale, startup};
use kastle_cluster::{Cluster, Shape};

/// Clusters of real processes on this machine: killed, measured, read back.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Records at acks=all while nodes are killed, or worse; everything acknowledged is read back.
    Chaos {
        /// Records to deliver.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// What happens meanwhile.
        #[arg(long, value_enum, default_value_t = Trouble::Kill)]
        trouble: Trouble,
        /// How often.
        #[arg(long, default_value_t = 10)]
        strikes: u32,
        /// Seconds between one and the next.
        #[arg(long, default_value_t = 5)]
        interval: u64,
    },
    /// kill -9 of a node that leads a third of the partitions: time to the last new leader.
    Failover {
        /// Topics of 10 partitions.
        #[arg(long, default_value_t = 1_000)]
        topics: usize,
        /// Kill the node whose controller is active.
        #[arg(long)]
        controller: bool,
        /// How often, each on a fresh cluster.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// format, start and first produce; resident memory of the idle node.
    Startup {
        /// How often, each on a fresh directory.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Topics of 10 partitions on one node: created, and served again after kill -9.
    Scale {
        /// Topics, created in calls of 100.
        #[arg(long, default_value_t = 1_000)]
        topics: usize,
    },
    /// librdkafka copies records in transactions while it, its coordinator and nodes are killed.
    ExactlyOnce {
        /// Records to copy.
        #[arg(long, default_value_t = 100_000)]
        records: u64,
        /// Kills.
        #[arg(long, default_value_t = 12)]
        strikes: u32,
        /// Seconds between one and the next.
        #[arg(long, default_value_t = 5)]
        interval: u64,
    },
    /// One of those who copy.
    #[command(hide = true)]
    Copier {
        /// The cluster.
        bootstrap: String,
        /// The partition of the source.
        partition: i32,
    },
    /// librdkafka writes with each codec and reads everything back.
    Codecs {
        /// Records a codec.
        #[arg(long, default_value_t = 10_000)]
        records: usize,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().work {
        Work::Chaos { records, trouble, strikes, interval } => {
            let interval = Duration::from_secs(interval);
            run_chaos(&chaos::Chaos { records, trouble, strikes, interval, idempotent: true })
        }
        Work::ExactlyOnce { records, strikes, interval } => {
            let interval = Duration::from_secs(interval);
            run_exactly_once(&exactly_once::ExactlyOnce { records, strikes, interval })
        }
        Work::Copier { bootstrap, partition } => {
            copier::copy(exactly_once::Job { bootstrap: &bootstrap, partition })
        }
        Work::Failover { topics, controller, rounds } => run_failover(topics, controller, rounds).await,
        Work::Startup { rounds } => run_startup(rounds).await,
        Work::Scale { topics } => run_scale(topics).await,
        Work::Codecs { records } => {
            kastle_cluster::work::codecs::run(&Cluster::start(Shape::of(3))?, records)?;
            println!("{records} records with each codec came back as they were sent");
            Ok(())
        }
    }
}

fn run_chaos(chaos: &chaos::Chaos) -> Result<()> {
    let outcome = chaos::run(chaos)?;
    println!("{outcome:#?}");
    ensure!(
        outcome.lost == 0 && outcome.duplicates == 0 && outcome.conflicts == 0 && outcome.failed == 0,
        "the cluster broke its promise"
    );
    Ok(())
}

fn run_exactly_once(work: &exactly_once::ExactlyOnce) -> Result<()> {
    let outcome = exactly_once::run(work, copier::command(&std::env::current_exe()?))?;
    println!("{outcome:#?}");
    ensure!(outcome.holds(), "not exactly once");
    Ok(())
}

async fn run_failover(topics: usize, controller: bool, rounds: usize) -> Result<()> {
    let topics = scale::Topics { count: topics, partitions: 10, per_call: 100 };
    for _ in 0..rounds {
        let outcome = failover::run(topics, controller).await?;
        println!("{} partitions have a new leader after {} ms", outcome.led, outcome.took.as_millis());
    }
    Ok(())
}

async fn run_startup(rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        let outcome = startup::run().await?;
        let mebibytes = outcome.resident_bytes >> 20;
        println!("first produce after {} ms, {mebibytes} MiB resident", outcome.first_produce.as_millis());
    }
    Ok(())
}

async fn run_scale(topics: usize) -> Result<()> {
    let outcome = scale::run(scale::Topics { count: topics, partitions: 10, per_call: 100 }).await?;
    println!(
        "created in {} ms, {} MiB resident, first produce {} ms after the restart",
        outcome.created.as_millis(),
        outcome.resident_bytes >> 20,
        outcome.restarted.as_millis()
    );
    Ok(())
}
