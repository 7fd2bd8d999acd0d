//! A box with a large Infomodell: backed up, compared and restored in four times its size, the box's own memory included.
//! Absent on purpose: speed. `PFORTE_LARGE=50000000` says another size; in a debug build that takes minutes.
#![allow(clippy::print_stdout, reason = "tests")]

use crate::restores;

use std::io::Seek;

use pforte::konnektor::restore::{End, Options as What};
use pforte::konnektor::simulator::big_infomodell;
use pforte::konnektor::{Given, Json};
use restores::{case, name, profile};
use serde_json::json;

/// The most memory this process ever held, in MiB, without the pages of its program, which are all that is mapped from files.
fn most() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (of("VmHWM:") - of("RssFile:")) / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_infomodell_is_backed_up_compared_and_restored_in_bounded_memory() {
    let size: usize =
        std::env::var("PFORTE_LARGE").ok().and_then(|size| size.parse().ok()).unwrap_or(5_000_000);
    let case = case(|_| {}).await;
    let path = case.dir.path().join("infomodell.json");
    std::fs::write(&path, big_infomodell(size)).unwrap();
    let mut kept = tempfile::tempfile().unwrap();
    case.backup().await.write_to(&mut kept).unwrap();
    // One place in the middle is another afterwards.
    let mut text = std::fs::read(&path).unwrap();
    let at = memchr::memmem::rfind(&text[..text.len() / 2], b"\":\"").unwrap() + 3;
    text.insert(at, b'X');
    std::fs::write(&path, text).unwrap();
    kept.rewind().unwrap();
    let given = Given::read(&mut kept, &profile()).unwrap();
    assert!(given.changed.is_empty());
    let plan = case.plan(&given, &What::default()).await.unwrap();
    // An item whose name changed is another item: one goes, one comes.
    let changes: Vec<usize> = plan.steps.iter().map(|step| step.diff.changes.len()).collect();
    assert!(matches!(changes[..], [1 | 2]), "{changes:?} {:?}", plan.left_out);
    drop(given);
    let outcome = case.execute(plan).await;
    assert_eq!(outcome.end, End::Done);
    let held: usize = std::fs::metadata(&path).unwrap().len().try_into().unwrap();
    assert!(held >= size / 10 * 9);
    let small = Json::of(&json!({"x": 1}));
    case.driver.write(&name("update"), &small).await.unwrap();
    let most = most();
    println!("{most} MiB for {size} bytes");
    let limit = 20 + size / 1_000_000 * 7 / 2;
    assert!(most <= limit, "{most} MiB of {limit}");
}
