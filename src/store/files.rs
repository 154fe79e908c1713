//! The files around an embedded engine: who may open it (lock), what was acknowledged (witness),
//! what is set aside for running calls (reserve), and the syncing that makes names and bytes
//! survive a power cut.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

use super::StoreError;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Names a path in what is said of its fault.
pub(super) fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}

/// How often a lock that is held is looked at before it is given up, and the pause between.
const LOCK_LOOKS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The right to use a data directory, for as long as it is held.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, without waiting.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where another process has it (says which), or the file cannot be
    /// made.
    pub fn take(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        // SAFETY: flock takes an open descriptor and touches no memory.
        let try_it =
            || unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 };
        // A child of the holder's has it too between fork and exec: one more look, a little later.
        let taken = (0..LOCK_LOOKS).any(|look| {
            if look > 0 {
                std::thread::sleep(LOCK_PAUSE);
            }
            try_it()
        });
        if !taken {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            return Err(StoreError::Failed(format!(
                "{} is in use by another instance (process {})",
                data_dir.display(),
                holder.trim()
            )));
        }
        let note = || -> io::Result<()> {
            let mut file = &file;
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(|error| failed(&path, &error))?;
        Ok(Self { _file: file })
    }
}

/// Remembers, outside the engine, the newest commit that was acknowledged, so that an engine that
/// quietly comes back with less is caught. Written after each commit's sync and not synced itself:
/// it can only lag behind, never run ahead.
#[derive(Debug)]
pub struct Witness {
    file: File,
    newest: u64,
}

const WITNESS_SLOT: usize = 16;

impl Witness {
    /// Opens the file, making it if there is none.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || -> io::Result<Self> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut bytes = Vec::with_capacity(2 * WITNESS_SLOT);
            (&file)
                .take(2 * WITNESS_SLOT as u64)
                .read_to_end(&mut bytes)?;
            let newest = bytes
                .chunks(WITNESS_SLOT)
                .filter_map(read_slot)
                .max()
                .unwrap_or(0);
            Ok(Self { file, newest })
        };
        open().map_err(|error| failed(path, &error))
    }

    /// The newest commit it knows of; 0 for none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes note of a commit. The two slots take turns, so that a torn write spoils one at most.
    ///
    /// # Errors
    /// The write's.
    pub fn note(&mut self, commit: u64) -> io::Result<()> {
        let mut slot = [0u8; WITNESS_SLOT];
        let (number, checksum) = slot.split_at_mut(8);
        number.copy_from_slice(&commit.to_be_bytes());
        checksum.copy_from_slice(&xxh3_64(number).to_be_bytes());
        self.file
            .write_all_at(&slot, (commit % 2) * WITNESS_SLOT as u64)?;
        self.newest = commit;
        Ok(())
    }

    /// Makes the note durable.
    ///
    /// # Errors
    /// The sync's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read_slot(slot: &[u8]) -> Option<u64> {
    let (number, rest) = slot.split_first_chunk::<8>()?;
    let (checksum, _) = rest.split_first_chunk::<8>()?;
    (xxh3_64(number) == u64::from_be_bytes(*checksum)).then(|| u64::from_be_bytes(*number))
}

/// Tells how many bytes are free on the file system of a path. Replaced by tests.
pub type FreeSpace = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Bytes free to us on the file system of `path`.
///
/// # Errors
/// statvfs's.
pub fn free_space(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut figures = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: both pointers are valid for the call; statvfs fills the struct or fails.
    let done = unsafe { libc::statvfs(path.as_ptr(), figures.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid value, and the call has filled it.
    let figures = unsafe { figures.assume_init() };
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// While more than this is free, bytes, the system is asked only so often: no disk fills so fast.
const PLENTY: u64 = 1 << 30;
const PLENTY_FOR: Duration = Duration::from_millis(50);

/// [`free_space`] of one path, which is not asked again at once where there was plenty.
#[must_use]
pub fn watched_free_space() -> FreeSpace {
    let seen: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    Arc::new(move |path| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *seen
            && at.elapsed() < PLENTY_FOR
        {
            return Ok(free);
        }
        let free = free_space(path)?;
        *seen = (free >= PLENTY).then(|| (Instant::now(), free));
        Ok(free)
    })
}

/// Room on the disk: below a margin ordinary commits wait, so that the engine itself never meets a
/// full disk (it does not survive that); a ballast file is given up for running calls when even
/// the margin is spent.
///
/// ```text
///   free ──────────────────────────────────────────────────────────▶
///         floor               margin            margin + ballast
///     │ ballast goes, then │  essential only  │  all   │ ballast is set aside again
///     │ nothing            │                  │        │
/// ```
pub struct Reserve {
    path: PathBuf,
    ballast: u64,
    margin: u64,
    floor: u64,
    held: bool,
    free: FreeSpace,
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve")
            .field("ballast", &self.ballast)
            .field("margin", &self.margin)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Reserve {
    /// Sizes in bytes. Sets the ballast aside if there is room.
    #[must_use]
    pub fn new(data_dir: &Path, ballast: u64, margin: u64, floor: u64, free: FreeSpace) -> Self {
        let path = data_dir.join("ballast");
        let held = fs::metadata(&path).is_ok_and(|file| file.len() == ballast);
        let mut reserve = Self {
            path,
            ballast,
            margin,
            floor,
            held,
            free,
        };
        reserve.breathe();
        reserve
    }

    /// Whether there is room for a commit of this kind and size.
    pub fn admits(&mut self, essential: bool, bytes: u64) -> bool {
        let needed = |least: u64| least.saturating_add(bytes.saturating_mul(2));
        if !essential {
            return self.free() >= needed(self.margin);
        }
        if self.free() >= needed(self.floor) {
            return true;
        }
        self.release();
        self.free() >= needed(self.floor)
    }

    /// Sets the ballast aside where there is room for it; says whether ordinary commits may be
    /// tried.
    pub fn breathe(&mut self) -> bool {
        let free = self.free();
        if !self.held && free >= self.margin.saturating_add(self.ballast) {
            self.held = self.set_aside().is_ok();
            if !self.held {
                let _ = fs::remove_file(&self.path);
            }
        }
        free >= self.margin
    }

    /// Whether ordinary commits may be tried.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.free() >= self.margin
    }

    /// Whether the ballast is there to be spent.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    fn free(&self) -> u64 {
        // A file system that does not tell is taken to have room: the engine's own error follows.
        let parent = self.path.parent().unwrap_or(&self.path);
        (self.free)(parent).unwrap_or(u64::MAX)
    }

    fn release(&mut self) {
        if self.held && fs::remove_file(&self.path).is_ok() {
            self.held = false;
        }
    }

    fn set_aside(&self) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&self.path)?;
        let length = libc::off_t::try_from(self.ballast)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        if length == 0 {
            return Ok(());
        }
        // SAFETY: takes an open descriptor and touches no memory.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`StoreError::Failed`].
pub fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed(path, &error))
}

/// Makes everything under a directory durable: bytes, names, and its own name in its parent.
///
/// # Errors
/// [`StoreError::Failed`].
pub fn sync_tree(path: &Path) -> Result<(), StoreError> {
    for entry in entries(path)? {
        let file = entry.path();
        if file.is_dir() {
            sync_tree(&file)?;
        } else {
            File::open(&file)
                .and_then(|opened| opened.sync_all())
                .map_err(|error| failed(&file, &error))?;
        }
    }
    sync_directory(path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Copies a directory and all that is in it; shares the bytes where the file system can.
///
/// # Errors
/// [`StoreError::Failed`].
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(to).map_err(|error| failed(to, &error))?;
    for entry in entries(from)? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(|error| failed(&target, &error))?;
        }
    }
    Ok(())
}

/// Bytes that the files under a directory take.
#[must_use]
pub fn tree_bytes(path: &Path) -> u64 {
    let Ok(entries) = entries(path) else { return 0 };
    entries
        .iter()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, metadata)| {
            if metadata.is_dir() {
                tree_bytes(&path)
            } else {
                metadata.len()
            }
        })
        .fold(0, u64::saturating_add)
}

/// A directory's entries, sorted by name.
pub(super) fn entries(path: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let read = || -> io::Result<Vec<fs::DirEntry>> {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        Ok(entries)
    };
    read().map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_second_instance_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn the_witness_survives_a_torn_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let mut witness = Witness::open(&path).unwrap();
        assert_eq!(witness.newest(), 0);
        witness.note(7).unwrap();
        witness.note(8).unwrap();
        assert_eq!(Witness::open(&path).unwrap().newest(), 8);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff], 3).unwrap();
        assert_eq!(Witness::open(&path).unwrap().newest(), 7);
    }

    #[test]
    fn the_reserve_keeps_room_for_running_calls() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(AtomicU64::new(1000));
        let told = Arc::clone(&disk);
        let ballast = dir.path().join("ballast");
        let seen = ballast.clone();
        // A disk on which the ballast takes its room.
        let free: FreeSpace = Arc::new(move |_| {
            let taken = fs::metadata(&seen).map_or(0, |file| file.len());
            Ok(told.load(Ordering::Relaxed).saturating_sub(taken))
        });
        let mut reserve = Reserve::new(dir.path(), 100, 300, 50, free);
        assert!(reserve.is_held());
        assert!(reserve.admits(false, 0));
        disk.store(390, Ordering::Relaxed);
        assert!(!reserve.admits(false, 0) && !reserve.has_room());
        assert!(reserve.admits(true, 0));
        assert!(reserve.is_held());
        assert!(!reserve.breathe());
        disk.store(140, Ordering::Relaxed);
        assert!(reserve.admits(true, 0), "the ballast makes room");
        assert!(!reserve.is_held() && !ballast.exists());
        disk.store(40, Ordering::Relaxed);
        assert!(!reserve.admits(true, 0));
        disk.store(399, Ordering::Relaxed);
        assert!(reserve.has_room());
        assert!(reserve.breathe() && !reserve.is_held());
        disk.store(400, Ordering::Relaxed);
        assert!(reserve.breathe() && reserve.is_held() && ballast.exists());
    }

    #[test]
    fn the_real_disk_tells_its_room() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_space(dir.path()).unwrap() > 0);
        assert!(free_space(&dir.path().join("none")).is_err());
        let watched = watched_free_space();
        assert!(watched(&dir.path().join("none")).is_err());
        assert!(watched(dir.path()).unwrap() > 0);
    }

    #[test]
    fn a_copied_tree_is_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("x"), b"12345").unwrap();
        fs::write(from.join("deep/y"), b"67").unwrap();
        copy_tree(&from, &to).unwrap();
        sync_tree(&to).unwrap();
        assert_eq!(fs::read(to.join("deep/y")).unwrap(), b"67");
        assert_eq!(tree_bytes(&to), 7);
    }
}
