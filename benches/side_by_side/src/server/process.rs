//! One server process: started, watched through `/proc`, ended.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// An orderly stop hands over leaders first; Kafka tries for a while when it is the last.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A process; killed with this value.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = fs::File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Fails when it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended with {status}:\n{}", self.log_end()),
        }
    }

    /// The last it said.
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// Processor time so far, all threads, in user and kernel mode.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.proc("stat")?)
    }

    /// Resident memory.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// What it read from disks so far; 0 where that is not told.
    pub fn disk_read_bytes(&self) -> u64 {
        let io = self.proc("io").unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, without waiting for the end.
    pub fn ask_to_stop(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Waits for the end that was asked for.
    pub fn await_end(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                bail!("the server did not stop within {STOP_MAX:?}:\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// Processor time of this program, to show that the load generator is lean.
pub fn own_cpu_seconds() -> Result<f64> {
    cpu_seconds(&fs::read_to_string("/proc/self/stat")?)
}

/// `utime` and `stime`, the 14th and 15th field; the 2nd is a name that may hold anything.
fn cpu_seconds(stat: &str) -> Result<f64> {
    let (_, fields) = stat.rsplit_once(") ").context("no process status")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next().context("no utime")??, ticks.next().context("no stime")??);
    Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::cpu_seconds;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = "12 (a ) b) S 1 1 1 0 -1 4194304 1 2 3 4 700 300 9 9 20 0 1 0 5 6 7\n";
        assert_eq!(cpu_seconds(stat).expect("a status") * ticks, 1_000.0);
        assert!(cpu_seconds("nothing").is_err());
    }
}
