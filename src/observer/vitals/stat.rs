//! What `/proc` says about one process, as text.

use crate::worker::vitals::CpuTime;
use nix::unistd::{SysconfVar, sysconf};
use std::{str, sync::LazyLock, time::Duration};

/// A process id.
pub(super) type Pid = u32;

/// The parts of `/proc/PID/stat` that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: Pid,
    pub(super) session: Pid,
    /// When the process started, in clock ticks since the system's start. With the process id it identifies
    /// the process.
    pub(super) start: u64,
    /// Processor time of the process itself.
    pub(super) own: CpuTime,
    /// Processor time of the children that it has waited for, and of their children that they had waited for.
    pub(super) waited: CpuTime,
    pub(super) threads: u64,
    pub(super) vms_bytes: u64,
    /// Whether all of it has ended: its parent has not waited for it yet.
    pub(super) is_zombie: bool,
}

/// The parts of `/proc/PID/status` that are used, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) rss_bytes: u64,
    pub(super) swap_bytes: u64,
}

impl Stat {
    /// Reads the text of `/proc/PID/stat`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        // The command's name comes second, in parentheses. It may have any bytes, parentheses included.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields =
            text.get(end + 1..)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let state = fields.next()?;
        let mut number = |skipped: usize| str::from_utf8(fields.nth(skipped)?).ok()?.parse::<u64>().ok();
        let parent = Pid::try_from(number(0)?).ok()?;
        let session = Pid::try_from(number(1)?).ok()?;
        // The terminal's foreground group may be -1; it is skipped as the counts of page faults are.
        let own = CpuTime { user: ticks(number(7)?), system: ticks(number(0)?) };
        let waited = CpuTime { user: ticks(number(0)?), system: ticks(number(0)?) };
        let threads = number(2)?;
        let start = number(1)?;
        let vms_bytes = number(0)?;
        // A process whose first thread alone has ended is in the same state.
        let is_zombie = matches!(state, b"Z" | b"X") && threads <= 1;
        Some(Self { parent, session, start, own, waited, threads, vms_bytes, is_zombie })
    }
}

impl Memory {
    /// Reads the text of `/proc/PID/status`. A process without memory, such as one that has ended, has no
    /// such lines.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let rss_bytes = kib(text, b"\nVmRSS:")?;
        Some(Self { rss_bytes, swap_bytes: kib(text, b"\nVmSwap:").unwrap_or_default() })
    }
}

/// The proportional set size of `/proc/PID/smaps_rollup`, in bytes.
pub(super) fn pss_bytes(text: &[u8]) -> Option<u64> {
    kib(text, b"\nPss:")
}

/// The process ids of a `children` file.
pub(super) fn pids(text: &[u8]) -> impl Iterator<Item = Pid> {
    text.split(|byte| *byte == b' ').filter_map(|word| str::from_utf8(word).ok()?.parse().ok())
}

/// The number behind a label that starts a line, which is in KiB, in bytes.
fn kib(text: &[u8], label: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(text, label)?;
    let rest = text.get(at + label.len()..)?.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(rest.get(..digits)?).ok()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn ticks(count: u64) -> Duration {
    static TICK_NS: LazyLock<u64> = LazyLock::new(|| {
        let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|hertz| u64::try_from(hertz).ok());
        1_000_000_000 / hertz.filter(|hertz| *hertz > 0).unwrap_or(100)
    });
    Duration::from_nanos(count.saturating_mul(*TICK_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let text = b"7 (a) R 1 2 (b) S 3 4 5 0 -1 6 10 20 30 40 100 200 300 400 20 0 9 0 1234 4096 5 6\n";
        let time = |user, system| CpuTime { user: ticks(user), system: ticks(system) };
        let expected = Stat {
            parent: 3,
            session: 5,
            start: 1234,
            own: time(100, 200),
            waited: time(300, 400),
            threads: 9,
            vms_bytes: 4096,
            is_zombie: false,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        for end in 0..text.len() - b" 5 6\n".len() - 4 {
            assert_eq!(Stat::parse(&text[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_zombie_has_no_thread_left() {
        let zombie = |state: &str, threads: u32| {
            let text = format!("1 (a) {state} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {threads} 0 0 0 0");
            Stat::parse(text.as_bytes()).unwrap().is_zombie
        };
        assert!(zombie("Z", 1) && zombie("X", 0) && !zombie("Z", 2) && !zombie("S", 1));
    }

    #[test]
    fn memory_is_in_bytes_and_may_be_missing() {
        let text =
            b"Name:\tVmRSS: 9 kB\nVmPeak:\t  9 kB\nVmRSS:\t  20 kB\nVmSwap:\t       3 kB\nThreads:\t1\n";
        assert_eq!(Memory::parse(text), Some(Memory { rss_bytes: 20 * 1024, swap_bytes: 3 * 1024 }));
        assert_eq!(Memory::parse(b"Name:\ta\nState:\tZ (zombie)\n"), None);
        assert_eq!(
            pss_bytes(b"0-1 ---p [rollup]\nRss: 9 kB\nPss:    7 kB\nPss_Dirty: 8 kB\n"),
            Some(7 * 1024)
        );
        assert_eq!(pss_bytes(b""), None);
    }

    #[test]
    fn children_are_separated_by_spaces() {
        assert_eq!(pids(b"12 345 ").collect::<Vec<_>>(), [12, 345]);
        assert_eq!(pids(b"").count(), 0);
    }
}
