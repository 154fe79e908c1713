//! Limits of the process (operations, "Configuration": the soft limit of descriptors is raised to
//! the hard one at start).

use std::io;

/// The hard limit of open descriptors; `None` where there is none or it cannot be known.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    let limits = read().ok()?;
    (limits.rlim_max != libc::RLIM_INFINITY).then_some(limits.rlim_max)
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// # Errors
/// The system's.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limits = read()?;
    limits.rlim_cur = limits.rlim_max;
    // SAFETY: the pointer is to a live value of the right type, which is only read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    if result == 0 {
        Ok(limits.rlim_cur)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn read() -> io::Result<libc::rlimit> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live value of the right type.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };
    if result == 0 {
        Ok(limits)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_means_soft_is_hard() {
        let raised = raise_descriptor_limit().unwrap();
        let limits = read().unwrap();
        assert_eq!(limits.rlim_cur, limits.rlim_max);
        assert_eq!(raised, limits.rlim_max);
    }
}
