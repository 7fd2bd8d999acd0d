use std::os::unix::fs::MetadataExt as _;

use super::*;

fn about(channel: u32) -> About {
    About {
        session: SessionId::new(1, 2),
        channel,
        user: "firm-jane.doe".parse().unwrap(),
        firm: "firm".parse().unwrap(),
        site: "praxis-mueller".parse().unwrap(),
        host: "backup".parse().unwrap(),
        command: None,
        term: "xterm".into(),
        cols: 80,
        rows: 24,
        started: "2026-11-21T16:04:05Z".parse().unwrap(),
    }
}

/// A clock that goes on by a second each time it is asked.
fn seconds() -> Clock {
    let asked = std::sync::atomic::AtomicI64::new(0);
    let start: Timestamp = "2026-11-21T16:04:05Z".parse().unwrap();
    Clock::of(move || {
        let n = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        start + jiff::SignedDuration::from_secs(n)
    })
}

fn open(folder: &Path) -> Recordings {
    let identity = Identity::generate();
    Recordings::open(folder, vec![identity.to_public()], vec![identity], seconds()).unwrap()
}

/// Every event that can be read, how it ends, and why it does not.
fn read(recordings: &Recordings, name: &RecordingName) -> Result<(Vec<Event>, Ending), (usize, Unreadable)> {
    let mut playback = recordings.read(name).map_err(|e| (0, e))?;
    let mut events = Vec::new();
    for event in playback.by_ref() {
        events.push(event.map_err(|e| (events.len(), e))?);
    }
    Ok((events, playback.ending().unwrap().clone()))
}

/// A recording of several frames; the name of what was kept.
async fn small(recordings: &Recordings) -> (Kept, PathBuf) {
    let recording = recordings.begin(about(0)).await.unwrap();
    recording.output(b"host$ ").await.unwrap();
    for _ in 0..2 {
        tokio::time::sleep(live::FLUSH * 2).await;
        assert_eq!(recording.input(b"l").await.unwrap(), []);
        recording.output(b"l").await.unwrap();
        recording.resize(100, 30).await.unwrap();
    }
    tokio::time::sleep(live::FLUSH * 2).await;
    recording.input(b"\r").await.unwrap();
    let typed = recording.output(b"\r\n").await.unwrap();
    assert_eq!(typed.len(), 1);
    let kept = recording.finish(Some(3)).await.unwrap();
    let path = recordings.folder.join(format!("{}.rec", kept.name));
    (kept, path)
}

#[tokio::test(start_paused = true)]
async fn a_recording_comes_back_as_it_happened_and_only_its_owner_can_open_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(&dir.path().join("recordings"));
    let (kept, path) = small(&recordings).await;
    let (events, ending) = read(&recordings, &kept.name).unwrap();
    let told: Vec<(u64, Code, &str)> =
        events.iter().map(|e| (e.after / 1_000_000, e.code, e.data.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, Code::Output, "host$ "),
            (2, Code::Output, "l"),
            (1, Code::Resize, "100x30"),
            (2, Code::Output, "l"),
            (1, Code::Resize, "100x30"),
            (2, Code::Output, "\r\n"),
            (0, Code::Mark, "typed (screen): ll"),
            (1, Code::Exit, "3"),
        ]
    );
    assert_eq!(ending, Ending::Whole { exit: Some(3), output_bytes: 10, typed: 1 });
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(kept.bytes, bytes.len() as u64);
    assert_eq!(kept.sha256.as_slice(), <sha2::Sha256 as sha2::Digest>::digest(&bytes).as_slice());
    assert!(!bytes.windows(5).any(|at| at == b"host$"), "at rest it is encrypted");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    for folder in [path.parent().unwrap(), recordings.folder.as_path()] {
        assert_eq!(std::fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    }
    assert_eq!(recordings.of(SessionId::new(1, 2)).unwrap(), std::slice::from_ref(&kept.name));
    assert_eq!(recordings.of(SessionId::new(1, 3)).unwrap(), []);
    assert_eq!(recordings.begin(about(0)).await.err(), Some(CannotRecord::Exists));
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_anywhere_plays_its_whole_frames_and_says_that_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(dir.path());
    let (kept, path) = small(&recordings).await;
    let bytes = std::fs::read(&path).unwrap();
    let (whole, _) = read(&recordings, &kept.name).unwrap();
    let mut counts = std::collections::BTreeSet::new();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        match read(&recordings, &kept.name) {
            Ok((events, ending)) => {
                assert_eq!(ending, Ending::Cut, "cut at {length}");
                assert_eq!(events, whole[..events.len()], "cut at {length}");
                counts.insert(events.len());
            }
            Err((0, Unreadable::Nothing)) => assert!(counts.is_empty(), "cut at {length}"),
            Err(other) => panic!("cut at {length}: {other:?}"),
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [0, 1, 3, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_byte_is_damage_or_a_cut_and_never_another_story() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(dir.path());
    let (kept, path) = small(&recordings).await;
    let bytes = std::fs::read(&path).unwrap();
    let (whole, _) = read(&recordings, &kept.name).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        std::fs::write(&path, &changed).unwrap();
        match read(&recordings, &kept.name) {
            Ok((events, ending)) => {
                assert_eq!((ending, &whole[..events.len()]), (Ending::Cut, events.as_slice()), "{at}");
                assert!(events.len() < whole.len());
            }
            Err((read, error)) => assert!(read < whole.len(), "{at}: {error}"),
        }
    }
}

/// The frames of a file, each with its length.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[tape::MAGIC.len()..];
    let mut all = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (frame, tail) = rest.split_at(4 + usize::try_from(u32::from_be_bytes(*length)).unwrap());
        all.push(frame.to_vec());
        rest = tail;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_missing_moved_doubled_or_of_another_recording_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(dir.path());
    let (kept, path) = small(&recordings).await;
    let parts = frames(&std::fs::read(&path).unwrap());
    assert_eq!(parts.len(), 5, "header, three and the last");
    let other = recordings.begin(about(1)).await.unwrap();
    other.output(b"other").await.unwrap();
    let other = other.finish(None).await.unwrap();
    let foreign = frames(&std::fs::read(recordings.folder.join(format!("{}.rec", other.name))).unwrap());
    let with = |order: &[&Vec<u8>]| {
        let frames: Vec<u8> = order.iter().flat_map(|frame| frame.iter().copied()).collect();
        std::fs::write(&path, [tape::MAGIC, &frames].concat()).unwrap();
        read(&recordings, &kept.name).map_err(|(_, error)| {
            let Unreadable::Damaged { frame, .. } = error else { panic!("{error:?}") };
            frame
        })
    };
    let of = |order: &[usize]| with(&order.iter().map(|at| &parts[*at]).collect::<Vec<_>>());
    assert!(of(&[0, 1, 2, 3, 4]).is_ok());
    assert_eq!(of(&[0, 2, 3, 4]), Err(1), "missing");
    assert_eq!(of(&[0, 1, 3, 2, 4]), Err(2), "moved");
    assert_eq!(of(&[0, 1, 1, 2, 3, 4]), Err(2), "doubled");
    assert_eq!(of(&[0, 1, 2, 3, 4, 4]), Err(5), "after the last");
    assert_eq!(with(&[&parts[0], &foreign[1]]), Err(1), "of another recording");
    assert_eq!(with(&foreign.iter().collect::<Vec<_>>()), Err(0), "another recording");
    let stranger = Recordings { identities: Arc::new([Identity::generate()]), ..recordings.clone() };
    assert_eq!(read(&stranger, &other.name), Err((0, Unreadable::WrongIdentity)));
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_was_dropped_keeps_what_it_has_and_reads_as_cut() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(dir.path());
    let recording = recordings.begin(about(0)).await.unwrap();
    let name = recording.name().clone();
    recording.output(b"so far").await.unwrap();
    drop(recording);
    for _ in 0..1000 {
        let (events, ending) = read(&recordings, &name).unwrap();
        assert_eq!(ending, Ending::Cut);
        if let [event] = events.as_slice() {
            assert_eq!(event.data, "so far");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("nothing was kept");
}

#[tokio::test]
async fn a_file_or_folder_that_was_taken_away_ends_the_recording() {
    for moved in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let recordings = open(dir.path());
        let recording = recordings.begin(about(0)).await.unwrap();
        let day = dir.path().join("2026-11-21");
        if moved {
            std::fs::rename(&day, dir.path().join("2026-11-22")).unwrap();
        } else {
            std::fs::remove_dir_all(&day).unwrap();
        }
        recording.output(b"lost").await.unwrap();
        assert_eq!(recording.failed().await, CannotRecord::Gone);
        assert_eq!(recording.output(b"more").await, Err(CannotRecord::Gone));
        assert_eq!(recording.input(b"\r").await, Err(CannotRecord::Gone));
        assert_eq!(recording.finish(None).await, Err(CannotRecord::Gone));
    }
}

#[tokio::test]
async fn without_a_folder_or_a_recipient_no_recording_begins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let identity = Identity::generate();
    let recipients = vec![identity.to_public()];
    assert!(Recordings::open(&file.join("below"), recipients.clone(), vec![], seconds()).is_err());
    let none = Recordings::open(dir.path(), vec![], vec![identity], seconds()).unwrap();
    assert_eq!(none.begin(about(0)).await.err(), Some(CannotRecord::NoRecipients));
    let recordings = Recordings::open(&dir.path().join("gone"), recipients, vec![], seconds()).unwrap();
    std::fs::remove_dir(dir.path().join("gone")).unwrap();
    std::fs::write(dir.path().join("gone"), "").unwrap();
    assert!(recordings.begin(about(0)).await.is_err());
}

#[tokio::test]
async fn a_finished_recording_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = open(dir.path());
    let recording = recordings.begin(about(0)).await.unwrap();
    recording.finish(None).await.unwrap();
    assert_eq!(recording.output(b"more").await, Err(CannotRecord::Ended));
    assert_eq!(recording.finish(None).await, Err(CannotRecord::Ended));
}
