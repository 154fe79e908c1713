//! The recordings of `[announce]`: read at start and at every reload, held in memory from then on.

use crate::call;
use crate::config::Config;
use crate::media::recording::{MAX_SECONDS, RATE, Recording, Recordings};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

/// A file is read no further: the longest recording, and room for what else stands in a WAV file.
const MOST_BYTES: u64 = (RATE * MAX_SECONDS * 2) as u64 + (1 << 20);

/// Reads what is configured.
///
/// # Errors
/// What is wrong with a file: the key, its name, and why.
pub(super) fn load(config: &Config) -> Result<Recordings, String> {
    let announce = &config.announce;
    let read = |key: &str, file: &Option<std::path::PathBuf>| {
        let read = file.as_deref().map(read).transpose();
        read.map_err(|fault| format!("announce.{key}: {fault}"))
    };
    let mut recordings = Recordings {
        no_lease: read("no_lease", &announce.no_lease)?,
        not_allowed: read("not_allowed", &announce.not_allowed)?,
        credit_exhausted: read("credit_exhausted", &announce.credit_exhausted)?,
        credit_warning: read("credit_warning", &announce.credit_warning)?,
    };
    if !config.billing.credit_warning.is_zero() {
        let tone = || Arc::new(Recording::warning_tone());
        recordings.credit_warning.get_or_insert_with(tone);
    }
    Ok(recordings)
}

/// What the call core is to know of them.
#[must_use]
pub(super) fn lengths(recordings: &Recordings) -> call::Announcements {
    let length = |one: &Option<Arc<Recording>>| one.as_ref().map(|one| one.length());
    call::Announcements {
        no_lease: length(&recordings.no_lease),
        not_allowed: length(&recordings.not_allowed),
        credit_exhausted: length(&recordings.credit_exhausted),
    }
}

fn read(path: &Path) -> Result<Arc<Recording>, String> {
    let wav = content(path)?.ok_or_else(|| format!("{}: no such file", path.display()))?;
    let beside = path.with_extension("g722");
    let g722 = content(&beside)?;
    Recording::read(&wav, g722.as_deref())
        .map(Arc::new)
        .map_err(|fault| format!("{}: {fault}", path.display()))
}

/// What is in a file; `None` where there is none.
fn content(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let fault = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let mut bytes = Vec::new();
    let mut bounded = file.take(MOST_BYTES);
    bounded.read_to_end(&mut bytes).map_err(fault)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use std::time::Duration;

    /// Half a second of silence.
    fn wav() -> Vec<u8> {
        let mut file =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
                .to_vec();
        file.extend(8000_u32.to_le_bytes());
        file.resize(file.len() + 8000, 0);
        file
    }

    fn config(text: &str) -> Config {
        let nothing = Environment {
            variable: &|_| None,
            file: &|_| Err(String::new()),
            descriptor_limit: None,
        };
        Config::parse("test", text, &nothing).unwrap()
    }

    #[test]
    fn files_are_read_with_what_is_prepared_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone.wav");
        std::fs::write(&path, wav()).unwrap();
        std::fs::write(folder.path().join("gone.g722"), vec![0; 8000]).unwrap();
        let text = format!("[announce]\nno_lease = {path:?}\n");
        let recordings = load(&config(&text)).unwrap();
        assert!(recordings.not_allowed.is_none());
        assert!(recordings.credit_warning.is_none());
        let lengths = lengths(&recordings);
        assert_eq!(lengths.no_lease, Some(Duration::from_secs(1)));
        assert_eq!(lengths.credit_exhausted, None);
    }

    #[test]
    fn a_warning_without_a_file_is_a_tone() {
        let recordings = load(&config("[billing]\ncredit_warning = \"10s\"\n")).unwrap();
        assert_eq!(
            recordings.credit_warning.as_deref(),
            Some(&Recording::warning_tone())
        );
    }

    #[test]
    fn what_is_wrong_names_the_key_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        let text = format!("[announce]\nnot_allowed = {path:?}\n");
        let fault = load(&config(&text)).unwrap_err();
        assert!(
            fault.starts_with("announce.not_allowed: ") && fault.contains("no such file"),
            "{fault}"
        );
        std::fs::write(&path, b"no sound").unwrap();
        let fault = load(&config(&text)).unwrap_err();
        assert!(fault.contains("x.wav: no WAV file"), "{fault}");
        assert!(
            load(&config(&format!(
                "[announce]\nno_lease = {:?}\n",
                folder.path()
            )))
            .is_err()
        );
    }
}
