//! What ssh-audit says of the door: no failure, and no warning but those that `docs/ssh.md` names and defends.

use crate::door;

use door::{Door, Setup, ran};
use serde_json::Value;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test runs the auditor")]
async fn an_auditor_finds_nothing_but_what_is_named_and_defended() {
    let venv = std::env::var("PFORTE_VENV").expect("PFORTE_VENV names the venv that tests/run makes");
    let door = Door::open(Setup::default()).await;
    let mut audit = Command::new(format!("{venv}/bin/ssh-audit"));
    audit.args(["--skip-rate-test", "-j", "-p", &door.port.to_string(), "127.0.0.1"]);
    let ran = ran(audit).await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let mut warned = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        let algorithms = report[kind].as_array().unwrap_or_else(|| panic!("no {kind}: {report:#}"));
        assert!(!algorithms.is_empty(), "{kind}");
        for algorithm in algorithms {
            let (name, notes) = (&algorithm["algorithm"], &algorithm["notes"]);
            assert!(notes["fail"].as_array().is_none_or(Vec::is_empty), "{name}: {notes}");
            for warning in notes["warn"].as_array().into_iter().flatten() {
                warned.push(format!("{}: {}", name.as_str().unwrap(), warning.as_str().unwrap()));
            }
        }
    }
    // OpenSSH before 9.9 has no post-quantum exchange in common with russh; docs/ssh.md says why it stays.
    assert!(
        warned.iter().all(|w| w.starts_with("curve25519-sha256") && w.contains("post-quantum")),
        "{warned:#?}"
    );
    assert_eq!(report["cves"].as_array().map_or(0, Vec::len), 0, "{report:#}");
    let offered = |kind: &str| -> Vec<&str> {
        report[kind].as_array().unwrap().iter().filter_map(|a| a["algorithm"].as_str()).collect()
    };
    assert_eq!(offered("key"), ["ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"]);
    assert!(offered("kex").contains(&"mlkem768x25519-sha256"));
    assert!(offered("kex").contains(&"kex-strict-s-v00@openssh.com"));
    door.close().await;
}
