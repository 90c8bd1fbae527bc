//! `kastle-needs`: fetches Kafka's jars, and prints where they are.

fn main() -> anyhow::Result<()> {
    println!("{}", kastle_needs::jars::fetch()?.display());
    Ok(())
}
