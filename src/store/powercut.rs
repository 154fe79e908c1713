//! Power cuts: a process commits and acknowledges, is killed at any moment, and finds its directory
//! as a disk would hold it that kept nothing but what was synced (`sip-tests/powercut`). Every
//! acknowledged commit must be there, whole, and nothing else.

use super::conformance::change;
use super::files;
use super::sled::{Options, SledStore};
use super::{Change, Direction, Store, Table};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::rand_core::Rng as _;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DIR: &str = "LEASEBRIDGE_POWERCUT_CHILD";
const SKIP_SYNC: &str = "LEASEBRIDGE_POWERCUT_SKIP_SYNC";

/// What commit `n` (from 1) writes under each key.
fn value(n: u32) -> Vec<u8> {
    let length = if n.is_multiple_of(40) {
        9000
    } else {
        10 + n % 700
    };
    n.to_be_bytes()
        .into_iter()
        .cycle()
        .take(length as usize)
        .collect()
}

/// Commit `n` (from 1): each builds on the one before.
fn changes(n: u32) -> Vec<Change> {
    let before = |distance: u32| n.checked_sub(distance).filter(|&before| before > 0);
    let counter = before(1).map(u32::to_be_bytes);
    let slot = (n % 50).to_be_bytes();
    let mut changes = vec![
        change(
            Table::Meta,
            b"counter",
            counter.as_ref().map(|bytes| &bytes[..]),
            Some(&n.to_be_bytes()),
        ),
        change(
            Table::Lease,
            &slot,
            before(50).map(value).as_deref(),
            Some(&value(n)),
        ),
        change(Table::Number, &n.to_be_bytes(), None, Some(b"there")),
        change(Table::Record, &n.to_be_bytes(), None, Some(&value(n))),
    ];
    if let Some(old) = before(30) {
        changes.push(change(
            Table::Number,
            &old.to_be_bytes(),
            Some(b"there"),
            None,
        ));
    }
    changes
}

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn state_after(commits: u32) -> Rows {
    let mut rows = Rows::new();
    for change in (1..=commits).flat_map(changes) {
        let key = (change.key.table, change.key.bytes.to_vec());
        match change.after {
            Some(after) => rows.insert(key, after.to_vec()),
            None => rows.remove(&key),
        };
    }
    rows
}

fn everything(store: &mut SledStore) -> Result<Rows, String> {
    let mut rows = Rows::new();
    store
        .scan(&mut |table, key, value| {
            rows.insert((table, key.to_vec()), value.to_vec());
        })
        .map_err(|error| error.to_string())?;
    let records = store
        .reader()
        .range(
            Table::Record,
            &[],
            &[0xff; 5],
            Direction::Forward,
            usize::MAX,
        )
        .map_err(|error| error.to_string())?;
    for (key, value) in records {
        rows.insert((Table::Record, key.to_vec()), value.to_vec());
    }
    Ok(rows)
}

fn counter(rows: &Rows) -> u32 {
    rows.get(&(Table::Meta, b"counter".to_vec()))
        .map_or(0, |bytes| u32::from_be_bytes(bytes[..].try_into().unwrap()))
}

/// The process that is killed. Does nothing unless it is started as one.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let mut options = Options::new(Path::new(&dir));
    options.cache_bytes = 1 << 20;
    options.ballast_bytes = 1 << 16;
    options.skip_sync = std::env::var_os(SKIP_SYNC).is_some();
    let mut store = SledStore::open(options).unwrap();
    let mut n = counter(&everything(&mut store).unwrap());
    loop {
        n += 1;
        store.commit(&changes(n)).unwrap();
        println!("acknowledged {n}");
    }
}

struct Tools {
    shim: PathBuf,
    rebuild: PathBuf,
    _dir: tempfile::TempDir,
}

fn tools() -> Tools {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-tests/powercut");
    let (shim, rebuild) = (dir.path().join("powercut.so"), dir.path().join("rebuild"));
    let compile = |arguments: &[&str], from: &str, to: &Path| {
        let done = Command::new("cc")
            .args(arguments)
            .arg("-o")
            .arg(to)
            .arg(source.join(from))
            .status()
            .expect("a C compiler is needed for the power-cut test");
        assert!(done.success(), "{from} does not compile");
    };
    compile(
        &["-O2", "-shared", "-fPIC", "-pthread"],
        "powercut.c",
        &shim,
    );
    compile(&["-O2"], "rebuild.c", &rebuild);
    Tools {
        shim,
        rebuild,
        _dir: dir,
    }
}

/// What is done to the process and its disk.
struct Cut {
    /// Killed after so many acknowledgements...
    after: u32,
    /// ...and so many microseconds.
    later_micros: u64,
    /// Per mille of writes that the disk keeps without being asked.
    early: u32,
    seed: u64,
    skip_sync: bool,
}

/// Lets the process run until the cut, and leaves in `dir` what the disk kept. Returns the last
/// commit that was acknowledged, if any was.
fn run_and_cut(tools: &Tools, dir: &Path, cut: &Cut) -> Option<u32> {
    let shadow = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store::powercut::child", "--nocapture"])
        .env("LD_PRELOAD", &tools.shim)
        .env("POWERCUT_DIR", dir)
        .env("POWERCUT_SHADOW", shadow.path())
        .env("POWERCUT_EARLY", cut.early.to_string())
        .env("POWERCUT_SEED", cut.seed.to_string())
        .env(DIR, dir)
        .stdout(Stdio::piped());
    if cut.skip_sync {
        command.env(SKIP_SYNC, "1");
    }
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let number = |line: std::io::Result<String>| -> Option<u32> {
        line.ok()?.rsplit_once("acknowledged ")?.1.parse().ok()
    };
    let mut last = None;
    if cut.after > 0 {
        last = lines
            .by_ref()
            .filter_map(number)
            .nth(cut.after as usize - 1);
        assert!(last.is_some(), "the process ended by itself");
    }
    while !shadow.path().join("ready").exists() {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_micros(cut.later_micros));
    process.kill().unwrap();
    process.wait().unwrap();
    last = lines.filter_map(number).last().or(last);
    let kept = dir.with_extension("kept");
    let done = Command::new(&tools.rebuild)
        .arg(shadow.path())
        .arg(&kept)
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::rename(&kept, dir).unwrap();
    last
}

/// Holds what the disk kept against what was acknowledged: that, or the one commit that was under
/// way. Returns the newest commit that is there.
fn check(dir: &Path, acknowledged: u32) -> Result<u32, String> {
    // The process goes on from what the cut left, its recovery untried by us.
    let copy = tempfile::tempdir().unwrap();
    files::copy_tree(dir, copy.path()).unwrap();
    let mut store =
        SledStore::open(Options::new(copy.path())).map_err(|error| error.to_string())?;
    let rows = everything(&mut store)?;
    let found = counter(&rows);
    if found != acknowledged && found != acknowledged + 1 {
        return Err(format!("{acknowledged} acknowledged, {found} found"));
    }
    if rows != state_after(found) {
        return Err(format!("commit {found} is there, but not whole"));
    }
    Ok(found)
}

/// So many cuts, unless the environment wants more of them.
fn cuts(count: u32, early: u32, seed: u8) {
    let wanted = std::env::var("LEASEBRIDGE_POWERCUTS");
    let count = wanted.map_or(count, |wanted| wanted.parse().unwrap());
    let tools = tools();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut acknowledged = 0;
    for n in 0..count {
        let cut = Cut {
            // Now and then while it opens.
            after: if n % 4 == 3 {
                0
            } else {
                1 + rng.next_u32() % 40
            },
            later_micros: u64::from(rng.next_u32() % 20_000),
            early,
            seed: rng.next_u64(),
            skip_sync: false,
        };
        acknowledged = run_and_cut(&tools, &dir, &cut).unwrap_or(acknowledged);
        acknowledged = match check(&dir, acknowledged) {
            Ok(found) => found,
            Err(what) => panic!(
                "cut {n} (after {}, early {early}, seed {}): {what}",
                cut.after, cut.seed
            ),
        };
    }
    assert!(acknowledged > 0);
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_forgets_all_else() {
    cuts(12, 0, 1);
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_writes_in_any_order() {
    cuts(12, 400, 2);
}

#[test]
fn a_store_that_does_not_sync_is_found_out() {
    let tools = tools();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let cut = Cut {
        after: 10,
        later_micros: 0,
        early: 0,
        seed: 1,
        skip_sync: true,
    };
    let acknowledged = run_and_cut(&tools, &dir, &cut).unwrap();
    let said = check(&dir, acknowledged).unwrap_err();
    assert!(said.contains("acknowledged, 0 found"), "{said}");
}
