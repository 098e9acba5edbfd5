//! What the machine and the parts of the system spend: CPU time and memory of processes from `/proc` (Linux), and what
//! else keeps the machine busy while it is measured.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Ticks of `/proc/*/stat` a second: fixed for user space on Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A part of the system: a process and, where it works through children (Postgres), these as well.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in tables.
    pub name: String,
    pid: Arc<AtomicU32>,
    with_children: bool,
}

/// What a part has spent since it began, and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// User and system time in seconds, of children that have ended included.
    pub cpu_seconds: f64,
    /// Memory in bytes: what each process has alone, and the largest shared segment once.
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stat {
    own: f64,
    of_ended_children: f64,
}

impl Part {
    /// The part of that name, which is process `pid` now.
    #[must_use]
    pub fn new(name: impl Into<String>, pid: u32) -> Self {
        Self { name: name.into(), pid: Arc::new(AtomicU32::new(pid)), with_children: true }
    }

    /// The same without its children: they are parts of their own.
    #[must_use]
    pub fn alone(name: impl Into<String>, pid: u32) -> Self {
        Self { with_children: false, ..Self::new(name, pid) }
    }

    /// Its process now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Another process has taken its place.
    pub fn moved_to(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The usage of its process now; zero when that is gone.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let pid = self.pid();
        let Some(root) = stat(pid) else { return Usage::default() };
        let mut usage = Usage { cpu_seconds: root.own, memory_bytes: 0 };
        if self.with_children {
            usage.cpu_seconds += root.of_ended_children;
        }
        let (mut own, mut shared) = memory(pid);
        for child in self.children() {
            usage.cpu_seconds += stat(child).map_or(0.0, |stat| stat.own);
            let (alone, segment) = memory(child);
            own += alone;
            shared = shared.max(segment);
        }
        usage.memory_bytes = own + shared;
        usage
    }

    fn children(&self) -> Vec<u32> {
        if self.with_children { children(self.pid()) } else { Vec::new() }
    }
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name may hold blanks and brackets: fields are counted from the last bracket (proc(5)).
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| -> Option<f64> { fields.get(index)?.parse().ok() };
    Some(Stat {
        own: (ticks(11)? + ticks(12)?) / TICKS,
        of_ended_children: (ticks(13)? + ticks(14)?) / TICKS,
    })
}

/// Of all its threads: the kernel lists children by the thread that made them.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Bytes it has alone, and bytes of shared memory it has touched.
fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    ((kib("RssAnon:") + kib("RssFile:")) * 1_024, kib("RssShmem:") * 1_024)
}

/// The machine, as a result names it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Its cores that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel.
    pub kernel: String,
}

impl Machine {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: Option<u64> = total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        Self {
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: kib.unwrap_or(0) * 1_024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        }
    }
}

/// CPU time of everything that runs, at one moment.
#[derive(Debug, Clone)]
pub struct Everything {
    /// Busy seconds of all cores since the machine began.
    busy: f64,
    /// Name and CPU seconds of each process.
    processes: BTreeMap<u32, (String, f64)>,
}

/// What else ran while something was measured.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Others {
    /// CPU seconds that no part of the system spent, the kernel's own included.
    pub cpu_seconds: f64,
    /// The busiest of them: name and CPU seconds, at most five.
    pub busiest: Vec<(String, f64)>,
    /// The load average of the last minute, at the end.
    pub load_average: f64,
}

impl Everything {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let mut processes = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if let (Some(name), Some(stat)) = (name_in(&text), parse_stat(&text)) {
                processes.insert(pid, (name.to_owned(), stat.own));
            }
        }
        Self { busy: busy(Path::new("/proc/stat")), processes }
    }

    /// What others than `parts` spent since `before`; `spent` is what the parts did.
    #[must_use]
    pub fn others(&self, before: &Self, parts: &[Part], spent: f64) -> Others {
        let ours: Vec<u32> =
            parts.iter().flat_map(|part| std::iter::once(part.pid()).chain(part.children())).collect();
        let mut busiest: BTreeMap<&str, f64> = BTreeMap::new();
        for (pid, (name, cpu)) in self.processes.iter().filter(|(pid, _)| !ours.contains(pid)) {
            let earlier = before.processes.get(pid).map_or(0.0, |(_, cpu)| *cpu);
            *busiest.entry(name).or_default() += (cpu - earlier).max(0.0);
        }
        let mut busiest: Vec<(String, f64)> = busiest
            .into_iter()
            .filter(|(_, cpu)| *cpu > 0.0)
            .map(|(name, cpu)| (name.to_owned(), cpu))
            .collect();
        busiest.sort_by(|a, b| b.1.total_cmp(&a.1));
        busiest.truncate(5);
        Others {
            cpu_seconds: (self.busy - before.busy - spent).max(0.0),
            busiest,
            load_average: load_average(),
        }
    }
}

fn name_in(stat: &str) -> Option<&str> {
    Some(stat.split_once('(')?.1.rsplit_once(')')?.0)
}

/// All but idle and waiting for disks, of the line for all cores.
fn busy(path: &Path) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        first.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user
    let busy = ticks.iter().enumerate().filter(|(index, _)| !matches!(index, 3 | 4 | 8..));
    busy.map(|(_, ticks)| ticks / TICKS).sum()
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_bracket() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 20 30 20 0 1 0 99";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.own, stat.of_ended_children), (2.0, 0.5));
        assert_eq!(name_in(text), Some("a) b (c"));
        assert!(parse_stat("7 (short) S 1").is_none());
    }

    #[test]
    fn this_process_spends_what_it_spends() {
        let this = Part::new("test", std::process::id());
        let before = (Everything::read(), this.usage());
        let mut sum = 0_u64;
        while this.usage().cpu_seconds < before.1.cpu_seconds + 0.1 {
            sum = (0..1_000_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(sum != 1 && this.usage().memory_bytes > 1_000_000);
        let after = Everything::read();
        assert!(after.busy >= before.0.busy + 0.08);
        let with = after.others(&before.0, &[], 0.0);
        assert!(with.cpu_seconds > 0.08);
        assert!(with.busiest.len() <= 5);
        assert!(after.others(&before.0, &[], 1e9).cpu_seconds == 0.0, "never below nothing");
    }

    /// A child that does not outlive its test, not even by a panic.
    struct Killed(std::process::Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A generator that starts what it measures must not count it twice.
    #[test]
    fn a_part_alone_leaves_its_children_out() {
        let child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let child = Killed(child);
        let spent = |part: &Part| part.usage().cpu_seconds;
        let (tree, alone) = (Part::new("tree", std::process::id()), Part::alone("alone", std::process::id()));
        let of_child = Part::new("child", child.0.id());
        while spent(&of_child) < 0.2 {
            std::thread::yield_now();
        }
        assert!(tree.children().contains(&child.0.id()) && alone.children().is_empty());
        assert!(spent(&tree) >= spent(&alone) + 0.2);
    }

    #[test]
    fn a_process_that_is_gone_spends_nothing() {
        assert_eq!(Part::new("gone", u32::MAX).usage(), Usage::default());
    }
}
