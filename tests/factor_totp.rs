//! Codes from an authenticator app: claims about the window, about use twice, and about files that are not right.
//! Absent on purpose: SQLite; the storage of used steps has its own tests.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use pforte::factor::totp::{StepsInMemory, StorageError, Totp, UsedSteps};
use pforte::factor::{Cause, Code, Verdict};
use pforte::names::Username;
use pforte::secret::Secret;

/// RFC 6238's key, "12345678901234567890".
const RFC_KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn jane() -> Username {
    "firm-jane.doe".parse().unwrap()
}

fn enrol(directory: &Path, text: &str, mode: u32) {
    let path = directory.join("firm-jane.doe");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

fn totp(directory: &Path) -> Totp {
    Totp::new(directory.to_owned(), Arc::new(StepsInMemory::default()))
}

async fn check(totp: &Totp, code: &str, at: i64) -> Verdict {
    totp.check(&jane(), &Secret::new(code.to_owned()), Timestamp::from_second(at).unwrap()).await
}

#[tokio::test]
async fn rfc_6238_vectors_are_allowed_and_their_neighbours_denied() {
    let vectors = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    for (at, code) in vectors {
        assert_eq!(check(&totp(directory.path()), code, at).await, Verdict::Allowed, "{at}");
        let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
        assert_eq!(check(&totp(directory.path()), &wrong, at).await, Verdict::Denied, "{at}");
    }
}

#[tokio::test]
async fn a_code_counts_one_step_early_or_late_and_no_further() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    // 005924 is the code of the 30 s from 1234567890 on.
    for at in [1_234_567_860, 1_234_567_889, 1_234_567_890, 1_234_567_919, 1_234_567_920, 1_234_567_949] {
        assert_eq!(check(&totp(directory.path()), "005924", at).await, Verdict::Allowed, "{at}");
    }
    for at in [1_234_567_859, 1_234_567_950, 0, -1] {
        assert_ne!(check(&totp(directory.path()), "005924", at).await, Verdict::Allowed, "{at}");
    }
}

#[tokio::test]
async fn a_code_counts_once_and_an_older_one_not_after_it() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    let totp = totp(directory.path());
    assert_eq!(check(&totp, "050471", 1_111_111_111).await, Verdict::Allowed);
    assert_eq!(check(&totp, "050471", 1_111_111_111).await, Verdict::Failed(Cause::Replay));
    assert_eq!(
        check(&totp, "081804", 1_111_111_111).await,
        Verdict::Failed(Cause::Replay),
        "the step before"
    );
    assert_eq!(check(&totp, "005924", 1_234_567_890).await, Verdict::Allowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_with_the_same_code_one_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    let totp = Arc::new(totp(directory.path()));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let totp = Arc::clone(&totp);
            tokio::spawn(async move { check(&totp, "287082", 59).await })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        let verdict = task.await.unwrap();
        assert!(matches!(verdict, Verdict::Allowed | Verdict::Failed(Cause::Replay)), "{verdict:?}");
        allowed += usize::from(verdict == Verdict::Allowed);
    }
    assert_eq!(allowed, 1);
}

/// Storage that must not be asked, or that is broken.
struct Broken;

#[async_trait]
impl UsedSteps for Broken {
    async fn use_step(&self, _: &Username, _: u64) -> Result<bool, StorageError> {
        Err(StorageError("disk full".into()))
    }
}

#[tokio::test]
async fn a_code_counts_for_nothing_when_its_use_cannot_be_stored() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    let totp = Totp::new(directory.path().to_owned(), Arc::new(Broken));
    assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::Storage));
}

#[tokio::test]
async fn only_six_ascii_digits_are_a_code_and_the_rest_touches_no_storage() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    let strict = Totp::new(directory.path().to_owned(), Arc::new(Broken));
    let bad = [
        "",
        " ",
        "28708",
        "2870820",
        "94287082",
        "287 082",
        "+87082",
        "-87082",
        "28708a",
        "287082\n",
        "287082\0",
        "\u{0662}\u{0668}\u{0667}\u{0660}\u{0668}\u{0662}",
        "２８７０８２",
        "28708\u{0662}",
        "2870\u{0662}",
        "\u{a0}287082",
    ];
    for code in bad {
        assert_eq!(check(&strict, code, 59).await, Verdict::Denied, "{code:?}");
    }
    assert_eq!(check(&totp(directory.path()), "  287082 ", 59).await, Verdict::Allowed);
}

#[tokio::test]
async fn a_secret_is_read_as_apps_show_it() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n", 0o600);
    assert_eq!(check(&totp(directory.path()), "287082", 59).await, Verdict::Allowed);
}

#[tokio::test]
async fn without_a_usable_file_of_ones_own_nothing_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let totp = totp(directory.path());
    assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::NoEnrolment));
    for mode in [0o604, 0o640, 0o602, 0o620, 0o601] {
        enrol(directory.path(), RFC_KEY, mode);
        assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::BadEnrolment), "{mode:o}");
    }
    let huge = "A".repeat(2000);
    for text in ["", "\n", "GEZDGNBVGY3TQOJ", "0189", "not base32!", huge.as_str()] {
        enrol(directory.path(), text, 0o600);
        assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::BadEnrolment), "{text:?}");
    }
    let path = directory.path().join("firm-jane.doe");
    std::fs::rename(&path, directory.path().join("other")).unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    std::fs::rename(&path, directory.path().join("other")).unwrap();
    std::os::unix::fs::symlink("other", &path).unwrap();
    assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::BadEnrolment), "a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(check(&totp, "287082", 59).await, Verdict::Failed(Cause::BadEnrolment), "a directory");
}

#[tokio::test]
async fn the_code_of_another_user_is_denied() {
    let directory = tempfile::tempdir().unwrap();
    enrol(directory.path(), RFC_KEY, 0o600);
    let bob: Username = "firm-bob.roe".parse().unwrap();
    let path = directory.path().join("firm-bob.roe");
    std::fs::write(&path, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let at = Timestamp::from_second(59).unwrap();
    let code = Secret::new("287082".to_owned());
    assert_eq!(totp(directory.path()).check(&bob, &code, at).await, Verdict::Denied);
}
