//! The inner session with the system's ssh, through the gateway, to a real sshd: what a technician types every day.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, and run real clients"
)]

mod door;
mod machine;

use door::Ran;
use machine::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_at_the_host_and_its_words_and_code_come_back() {
    let stage = Stage::set("").await;
    let Ran { code, stdout, stderr } = stage.ssh(&["echo out; echo err >&2; exit 7"]).await;
    assert_eq!((code, stdout.as_str()), (7, "out\n"), "{stderr}");
    assert!(stderr.contains("err\n"), "{stderr}");
    stage.close().await;
}
