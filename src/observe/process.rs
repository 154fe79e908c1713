//! Figures of the process itself, from `/proc`.

use super::catalogue;
use super::source::Sink;

/// Puts what can be read into `sink`; what cannot (another system, a locked-down one) is left out.
pub(super) fn collect(sink: &mut Sink) {
    sink.add(&catalogue::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The listing itself holds one.
        let open = u64::try_from(entries.count()).unwrap_or(u64::MAX);
        sink.add(&catalogue::OPEN_DESCRIPTORS, &[], open.saturating_sub(1));
    }
    if let Some(limit) = descriptor_limit() {
        sink.add(&catalogue::MAX_DESCRIPTORS, &[], limit);
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        if let Some(kib) = field(&status, "VmRSS:") {
            sink.add(&catalogue::MEMORY, &[], kib.saturating_mul(1024));
        }
        if let Some(threads) = field(&status, "Threads:") {
            sink.add(&catalogue::THREADS, &[], threads);
        }
    }
    if let Some(seconds) = cpu_seconds() {
        sink.add_real(&catalogue::CPU_SECONDS, &[], seconds);
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn descriptor_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files")
}

#[allow(clippy::cast_precision_loss)]
fn cpu_seconds() -> Option<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right size; all-zero is a valid value of the type.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Some(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
