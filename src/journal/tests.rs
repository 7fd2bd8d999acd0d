//! Tests that need a disk which fails to sync. Absent on purpose: everything that goes through the public door (`tests/`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::*;

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

async fn failing(dir: &tempfile::TempDir) -> (Journal, Arc<AtomicU32>) {
    let syncs = Arc::new(AtomicU32::new(0));
    let options = Options { reserve: 64 << 10, failing_syncs: Arc::clone(&syncs) };
    let journal = Journal::open(dir.path(), key(), Clock::system(), options).await.unwrap();
    (journal, syncs)
}

fn numbers(dir: &tempfile::TempDir) -> Vec<u64> {
    let lines = search(dir.path(), Filter::default()).unwrap();
    lines.map(|line| line.unwrap().field("seq").unwrap().as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_line_whose_sync_failed_is_refused_and_gone_and_the_next_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, syncs) = failing(&dir).await;
    assert_eq!(journal.append(Entry::new(Event::Started)).await, Ok(Written { seq: 2 }));
    syncs.store(1, Ordering::SeqCst);
    assert!(matches!(journal.append(Entry::new(Event::Started)).await, Err(CannotJournal::Disk(_))));
    assert!(journal.health().is_err());
    assert_eq!(numbers(&dir), [1, 2]);
    assert_eq!(journal.append(Entry::new(Event::Started)).await, Ok(Written { seq: 3 }));
    assert_eq!(journal.health(), Ok(()));
    journal.close().await.unwrap();
    assert!(verify(dir.path(), key().public_key()).unwrap().is_sound());
}

#[tokio::test]
async fn a_closing_line_survives_one_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, syncs) = failing(&dir).await;
    syncs.store(1, Ordering::SeqCst);
    assert_eq!(journal.append(Entry::new(Event::Finished)).await, Ok(Written { seq: 2 }));
    syncs.store(2, Ordering::SeqCst);
    assert!(journal.append(Entry::new(Event::Finished)).await.is_err());
    journal.close().await.unwrap();
    assert!(verify(dir.path(), key().public_key()).unwrap().is_sound());
}

#[tokio::test]
async fn a_durable_line_that_reads_back_differently_stops_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, syncs) = failing(&dir).await;
    journal.append(Entry { cause: Some("before".into()), ..Entry::new(Event::Started) }).await.unwrap();
    let day = read::days(dir.path()).unwrap()[0];
    let file = dir.path().join(read::file_name(day));
    let text = std::fs::read_to_string(&file).unwrap().replace("before", "behind");
    std::fs::write(&file, text).unwrap();
    syncs.store(1, Ordering::SeqCst);
    for event in [Event::Started, Event::Started, Event::Finished] {
        let refused = journal.append(Entry::new(event)).await.unwrap_err();
        assert!(matches!(refused, CannotJournal::Disk(_)));
    }
    assert!(journal.health().unwrap_err().to_string().contains("reads back differently"));
}
