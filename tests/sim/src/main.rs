//! Runs seeds of the simulation and tells the story of those that fail.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use kastle_sim::campaign::{Campaign, Caught, Progress, hunt, minimums};
use kastle_sim::faults::Kind;
use kastle_sim::run::RunOptions;
use model::Mutant;

/// Simulates whole clusters under faults, one for each seed, and judges them after every step.
#[derive(Debug, Parser)]
#[command(name = "kastle-sim", version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed; with --seeds 1 (the default when this is given alone) only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print every event of the run; only with one seed.
    #[arg(long)]
    trace: bool,
    /// Simulated seconds under faults in each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these faults, for example `--faults kill-one,pause`; `none` for none.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Plant this bug, by its name in `model::Mutant`, or `all` of them in turn, and count the seeds
    /// until it is caught.
    #[arg(long)]
    mutant: Option<String>,
    /// Seeds at the same time; as many as there are cores unless given.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

/// From so many seeds on a campaign must cover what it should.
const WHOLE_FROM: u64 = 100;

fn main() -> ExitCode {
    let args = Args::parse();
    init_log();
    match act(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The nodes' own logs, where `KASTLE_LOG` asks for them.
fn init_log() {
    if let Ok(filter) = std::env::var("KASTLE_LOG") {
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        log.without_time().with_ansi(false).init();
    }
}

fn act(args: &Args) -> Result<bool, String> {
    let campaign = campaign(args)?;
    match &args.mutant {
        Some(name) => Ok(hunt_mutants(&mutants(name)?, &campaign)),
        None => Ok(run_seeds(&campaign, args.trace)),
    }
}

fn campaign(args: &Args) -> Result<Campaign, String> {
    let alone = args.seed.is_some() && !std::env::args().any(|word| word.starts_with("--seeds"));
    let count = if alone { 1 } else { args.seeds };
    if args.trace && count != 1 {
        return Err("--trace prints every event of one run: say which with --seed S".to_owned());
    }
    let faults = match args.faults.as_slice() {
        [] => None,
        [none] if none == "none" => Some(Vec::new()),
        kinds => Some(kinds.iter().map(|kind| kind.parse::<Kind>()).collect::<Result<_, _>>()?),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Campaign {
        first: args.seed.unwrap_or(0),
        count,
        options: RunOptions {
            length: Duration::from_secs(args.seconds),
            faults,
            keep_trace: args.trace,
            ..RunOptions::default()
        },
        threads: args.threads.unwrap_or(cores).max(1),
        stop_at_failure: !args.keep_going,
    })
}

fn mutants(name: &str) -> Result<Vec<Mutant>, String> {
    if name == "all" {
        return Ok(Mutant::ALL.to_vec());
    }
    let found = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
    found.map(|mutant| vec![mutant]).ok_or_else(|| {
        let names: Vec<String> = Mutant::ALL.iter().map(|mutant| format!("{mutant:?}")).collect();
        format!("no planted bug is named '{name}'; known are all, {}", names.join(", "))
    })
}

fn run_seeds(campaign: &Campaign, trace: bool) -> bool {
    let shown = Mutex::new(Instant::now());
    let report = campaign.run(|progress| show(&progress, &shown));
    clear_line();
    for failure in &report.failures {
        if let Some(story) = &failure.story {
            println!("{story}");
        }
    }
    if trace {
        report.trace.lines.iter().for_each(|line| println!("{line}"));
    }
    println!("{}", report.coverage);
    let rate = report.seeds as f64 / report.took.as_secs_f64();
    println!(
        "{} seeds of {} s, from {}: {} failed; {:.1} s, {rate:.1} seeds a second",
        report.seeds,
        campaign.options.length.as_secs(),
        campaign.first,
        report.failures.len(),
        report.took.as_secs_f64(),
    );
    // A short run, or one with chosen faults, is not meant to cover everything.
    let is_whole = report.seeds >= WHOLE_FROM && campaign.options.faults.is_none();
    let short = match report.coverage.require(&minimums(report.seeds)) {
        Err(short) if is_whole => short,
        _ => Vec::new(),
    };
    short.iter().for_each(|short| println!("too little of it: {short}"));
    report.failures.is_empty() && short.is_empty()
}

fn hunt_mutants(mutants: &[Mutant], campaign: &Campaign) -> bool {
    let show = |caught: &Caught| match &caught.by {
        Some(outcome) => {
            println!(
                "{:<28} caught in {:>4} seeds: {}",
                name(caught),
                caught.seeds,
                first_line(&outcome.violations[0])
            );
        }
        None => println!("{:<28} SURVIVED {} seeds", name(caught), caught.seeds),
    };
    hunt(mutants, campaign, show).iter().all(|caught| caught.by.is_some())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn name(caught: &Caught) -> String {
    format!("{:?}", caught.mutant)
}

fn show(progress: &Progress, shown: &Mutex<Instant>) {
    let every = if std::io::stderr().is_terminal() { 1 } else { 30 };
    let Ok(mut shown) = shown.lock() else { return };
    if let Some(seed) = progress.failure {
        clear_line();
        eprintln!("seed {seed} failed; its story follows at the end");
    }
    if shown.elapsed() < Duration::from_secs(every) {
        return;
    }
    *shown = Instant::now();
    let rate = progress.done as f64 / progress.elapsed.as_secs_f64();
    clear_line();
    eprint!("{} of {} seeds, {rate:.1} a second, {} failed", progress.done, progress.of, progress.failed);
    if !std::io::stderr().is_terminal() {
        eprintln!();
    }
    let _ = std::io::stderr().flush();
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
