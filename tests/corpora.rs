//! Runs every kept input of the fuzz targets through what the fuzzer runs them through, on the
//! stable toolchain and in a second or two.

#[path = "../sip-tests/fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

/// Inputs of one target, by name so that a failure says which.
fn inputs(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-tests");
    let mut found: Vec<PathBuf> = fs::read_dir(root.join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} is empty");
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    found.into_iter().map(read).collect()
}

fn replay(folder: &str, run: fn(&[u8])) {
    for (path, input) in inputs(folder) {
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "{} breaks a promise", path.display());
    }
}

/// The torture messages as `sip-tests/torture/messages.py` reads them: a line a line, `\\xHH` for a
/// byte, a backslash at a line's end joins it to the next.
fn torture() -> Vec<(PathBuf, Vec<u8>)> {
    let unescaped = |text: &[u8]| {
        let start = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut bytes = Vec::new();
        let mut rest = &text[start..];
        loop {
            rest = match rest {
                [] => return bytes,
                [b'\\', b'\n', after @ ..] => after,
                [b'\\', b'x', high, low, after @ ..] => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    after
                }
                [b'\\', escaped, after @ ..] => {
                    bytes.push(*escaped);
                    after
                }
                [b'\n', after @ ..] => {
                    bytes.extend(b"\r\n");
                    after
                }
                [byte, after @ ..] => {
                    bytes.push(*byte);
                    after
                }
            };
        }
    };
    let files = inputs("torture/messages").into_iter();
    files.map(|(path, text)| (path, unescaped(&text))).collect()
}

/// To the framers and the codec as they are; to the gateway from each of its neighbours.
#[test]
fn the_torture_messages_break_no_promise() {
    let messages = torture();
    assert_eq!(messages.len(), 61);
    for (path, message) in messages {
        let outcome = std::panic::catch_unwind(|| {
            fuzz::framer::run(&message);
            fuzz::codec::run(&message);
            // A piece of a stream: no cuts, any bytes (0), the bytes.
            fuzz::stream::run(&[&[0, 0], &message[..]].concat());
            for from in 0..3 {
                // A step of this target: the seed, any bytes (0), from whom, the bytes.
                let mut steps = vec![1, 0, from];
                steps.extend_from_slice(&message);
                fuzz::gateway::run(&steps);
            }
        });
        assert!(outcome.is_ok(), "{} breaks a promise", path.display());
    }
}

#[test]
fn the_framer_reads_its_corpus_as_a_plain_reading_does() {
    replay("fuzz/corpus/framer", fuzz::framer::run);
}

#[test]
fn the_streams_of_the_corpus_are_the_same_however_they_are_cut() {
    replay("fuzz/corpus/stream", fuzz::stream::run);
}

#[test]
fn the_credentials_of_the_corpus_are_believed_once_or_never() {
    replay("fuzz/corpus/digest", fuzz::digest::run);
}

#[test]
fn no_passport_of_the_corpus_is_valid_but_our_own() {
    replay("fuzz/corpus/passport", fuzz::passport::run);
}

#[test]
fn the_codec_prints_its_corpus_as_it_read_it() {
    replay("fuzz/corpus/codec", fuzz::codec::run);
}

#[test]
fn the_descriptions_of_the_corpus_are_rewritten_by_the_allow_list() {
    replay("fuzz/corpus/sdp", fuzz::sdp::run);
}

#[test]
fn the_packets_of_the_corpus_come_back_as_they_were() {
    replay("fuzz/corpus/srtp", fuzz::srtp::run);
}

#[test]
fn only_who_is_described_is_heard_in_each_of_the_corpus() {
    replay("fuzz/corpus/media", fuzz::media::run);
}

#[test]
fn the_transaction_table_is_empty_after_each_of_its_corpus() {
    replay("fuzz/corpus/transactions", fuzz::transactions::run);
}

#[test]
fn the_gateway_is_idle_after_each_of_its_corpus() {
    replay("fuzz/corpus/gateway", fuzz::gateway::run);
}
