//! The site's page in a real Chromium, driven by Node: a day by keyboard alone, without JavaScript, and axe on each state.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::page;

use std::process::Stdio;
use std::time::Duration;

use page::tls::Sealed;
use page::{PIN, Served};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// Runs a scenario of `drive.cjs` against the page; what it asks for happens at the desk.
async fn drive(scenario: &str) {
    let served = Served::new().await;
    let origin = served.origin();
    drive_at(&served, scenario, &origin, "").await;
}

/// `trusted`: base64 of the SHA-256 of a public key whose certificate is taken though nobody has signed it.
async fn drive_at(served: &Served, scenario: &str, origin: &str, trusted: &str) {
    let node = std::env::var("PFORTE_NODE")
        .expect("PFORTE_NODE names no folder with playwright-core and axe-core; tests/run makes one");
    let mut driver = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/drive.cjs"))
        .args([scenario, origin, PIN])
        .env("PFORTE_NODE", node)
        .env("PFORTE_SPKI", trusted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node cannot be run; tests/run installs it");
    let mut answers = driver.stdin.take().unwrap();
    let mut asked = BufReader::new(driver.stdout.take().unwrap()).lines();
    let run = async {
        while let Some(line) = asked.next_line().await.unwrap() {
            let answer = match line.split_once(' ').unwrap_or((&line, "")) {
                ("happen", what) => {
                    served.desk.happen(what);
                    String::from("so")
                }
                ("told", _) => serde_json::to_string(&served.desk.told()).unwrap(),
                ("done", _) => return,
                ("failed", why) => {
                    let why: String = serde_json::from_str(why).unwrap();
                    panic!("{scenario}: {why}")
                }
                _ => panic!("{line}"),
            };
            answers.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        }
        panic!("{scenario}: the browser's driver ended early");
    };
    tokio::time::timeout(Duration::from_secs(300), run).await.expect("in time");
    driver.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_at_the_practice_goes_by_keyboard_alone() {
    drive("day").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_session_or_device_is_gone_says_so() {
    drive("gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_button_works_without_javascript() {
    drive("plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_page_in_any_state() {
    drive("axes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_others_runs_nothing_in_a_browser() {
    drive("hostile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_knows_the_self_made_certificate_is_led_to_https_and_stays_there() {
    let sealed = Sealed::own().await;
    drive_at(&sealed.served, "sealed", &sealed.origin(), &sealed.key_hash()).await;
    drive_at(&sealed.served, "stranger", &sealed.origin(), "").await;
}
