//! Whether the files of the data directory are still the ones that are open. A directory that is
//! deleted or moved away under a running process goes on taking writes which nobody will ever read:
//! nothing else fails, so somebody has to look.

use crate::observe::catalogue as rows;
use crate::observe::{Health, Metrics, Sink};
use crate::store::record::SCHEMA;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Device and inode.
type Identity = (u64, u64);

/// The directory and what must stay in it.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    files: Vec<(PathBuf, Identity)>,
}

impl DataDirectory {
    /// What is there now: the directory, the lock, the store and its file.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let store = path.join(format!("store.{SCHEMA}"));
        let rest = [path.join("lock"), store.join("db"), store];
        let mut files = vec![(path.to_owned(), identity(path)?)];
        for file in rest {
            if let Ok(found) = identity(&file) {
                files.push((file, found));
            }
        }
        Ok(Self { files })
    }

    /// The first of them that is not where it was.
    #[must_use]
    pub fn missing(&self) -> Option<&Path> {
        let gone = |(path, before): &&(PathBuf, Identity)| match identity(path) {
            Ok(now) => now != *before,
            // Any other error says nothing of the files that are open.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        self.files.iter().find(gone).map(|(path, _)| path.as_path())
    }

    /// Looks again and again, for as long as the runtime runs; what is found goes to the health and
    /// the log.
    pub async fn watch(self, health: Arc<Health>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let (looking, told) = (self.clone(), Arc::clone(&health));
            // A disk that hangs holds up a thread made for that, no request.
            let looked = tokio::task::spawn_blocking(move || looking.look(&told));
            if looked.await.is_err() {
                return;
            }
        }
    }

    fn look(&self, health: &Health) {
        let missing = self.missing();
        let before = health.has_data_directory();
        health.set_data_directory(missing.is_none());
        match missing {
            Some(path) if before => tracing::error!(
                path = %path.display(),
                "the data directory was deleted or moved under the running node: what is answered \
                 from now on is lost when it ends"
            ),
            None if !before => tracing::warn!("the data directory is back"),
            _ => {}
        }
    }
}

/// Its part in the metrics.
pub fn observe(metrics: &Metrics, health: &Arc<Health>) {
    let health = Arc::clone(health);
    metrics.add_source(Arc::new(move |sink: &mut Sink| {
        let there = u64::from(health.has_data_directory());
        sink.add(&rows::DATA_DIRECTORY, &[], there);
    }));
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_moved_or_made_anew_is_noticed() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let store = path.join(format!("store.{SCHEMA}"));
        std::fs::create_dir_all(&store).unwrap();
        for file in [path.join("lock"), store.join("db")] {
            std::fs::write(file, b"x").unwrap();
        }
        let directory = DataDirectory::of(&path).unwrap();
        let health = Health::default();
        assert_eq!(directory.missing(), None);

        let away = outer.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        assert_eq!(directory.missing(), Some(path.as_path()));
        directory.look(&health);
        assert!(health.reasons().contains(&"data directory gone"));
        // Another one of the same name is not the one that is open.
        std::fs::create_dir(&path).unwrap();
        assert_eq!(directory.missing(), Some(path.as_path()));
        std::fs::remove_dir(&path).unwrap();

        std::fs::rename(&away, &path).unwrap();
        directory.look(&health);
        assert!(!health.reasons().contains(&"data directory gone"));
        std::fs::remove_file(store.join("db")).unwrap();
        assert_eq!(directory.missing(), Some(store.join("db").as_path()));
    }
}
