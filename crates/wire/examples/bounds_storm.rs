//! Millions of valid, truncated, mutated and random frames against the decoders, every allocation counted.
//!
//! `cargo run --release -p kastle-wire --example bounds_storm -- --frames 10000000 [--seed S] [--first N]`
//! ends with code 0 and its figures, or with the first frame that panics or takes more memory than promised;
//! `--seed S --first N --frames 1` runs that frame again.

#[path = "../tests/storm/mod.rs"]
mod storm;

use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut frames, mut seed, mut first) = (10_000_000, 1, 0);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (flag.as_str(), value) {
            ("--frames", Some(value)) => frames = value,
            ("--seed", Some(value)) => seed = value,
            ("--first", Some(value)) => first = value,
            _ => {
                eprintln!("cannot run: '{flag}' takes a number; known are --frames, --seed and --first");
                std::process::exit(2);
            }
        }
    }
    let start = Instant::now();
    let mut report = storm::Report::default();
    let step = (frames / 20).max(1);
    let mut done = 0;
    while done < frames {
        let count = step.min(frames - done);
        storm::run(seed, first + done, count, &mut report);
        done += count;
        eprintln!("{done} of {frames} frames, {:.0} s", start.elapsed().as_secs_f64());
    }
    println!("{} frames taken, {} refused, none panicked", report.taken, report.refused);
    println!("largest allocation: {} bytes", report.allocation_max);
    println!("most memory for a frame: {} bytes, its frame {} bytes", report.peak_max, report.peak_frame);
    println!("most memory beyond a frame's growth: {} bytes", report.beyond_growth_max);
}
