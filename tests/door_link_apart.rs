//! Sites' links beside each other at one gateway: what one is told, may answer and may hold open, and what is gone with its key.
//! Absent on purpose: floods (`attack_link.rs`), and consent by itself (`door_link.rs`).

use crate::door;
use crate::practice;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use door::{Door, Setup};
use jiff::SignedDuration;
use pforte::clock::Clock;
use pforte::link::frames::ToGateway;
use practice::{Practice, SITE, behind_link, fingerprint, public};

const WITHIN: Duration = Duration::from_secs(20);
const OTHER: &str = "praxis-meier";
const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\"]\non = [\"*\"]\n";

/// A gateway with two sites that are reached over their links; the first one's key with these options.
async fn gate(options: &str, change: impl FnOnce(&mut Setup)) -> (Door, SocketAddr) {
    let other = "name = \"Praxis Meier\"\ndomain = \"praxis-meier.example\"\nvia = \"link\"\n";
    let mut setup = Setup {
        rules: Some(RULES.into()),
        files: vec![
            ("keys/sites/praxis-mueller.pub", format!("{options}{}", public(1)), 0o644),
            ("keys/sites/praxis-meier.pub", public(2), 0o644),
        ],
        sites: vec![(OTHER.to_owned(), other.to_owned())],
        ..Setup::default()
    };
    change(&mut setup);
    let door = Door::open(setup).await;
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, behind_link(&text)).unwrap();
    door.reload().await;
    let gateway = ([127, 0, 0, 1], door.port).into();
    (door, gateway)
}

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < WITHIN, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_told_nothing_of_another_and_answers_for_itself_alone() {
    let (door, gateway) = gate("", |_| {}).await;
    let host_key = fingerprint(door.path());
    let mut ours = Practice::link(gateway, host_key.clone(), 1).await;
    let theirs = Practice::of(gateway, OTHER, host_key, 2).await;
    door.wait_for("link", 2).await;
    let asking = door.ssh(&["ask", SITE, "--why", "Sicherung", "--for", "45m"]);
    let answering = async {
        let asked = ours.asks.recv().await.unwrap();
        // As often as a person at once may ask: one ask at a time.
        let again = door.ssh(&["ask", SITE, "--why", "noch", "--for", "45m"]).await;
        assert_ne!(again.code, 0, "{again:?}");
        theirs.say(ToGateway::Answer { id: asked.id.clone(), allowed: true }).await;
        // Two lines later it has been heard.
        let seen = theirs.nonces.lock().unwrap().len();
        theirs.say(ToGateway::Changed).await;
        until("the other one's link goes on", || theirs.nonces.lock().unwrap().len() > seen).await;
        ours.say(ToGateway::Answer { id: asked.id, allowed: false }).await;
    };
    let (asked, ()) = tokio::join!(asking, answering);
    assert_eq!(asked.code, 77, "another practice has let them in: {asked:?}");
    let told = |practice: &Practice| practice.told.lock().unwrap().clone();
    ours.allow(&[("firm", &[], 600)]).await;
    until("the site hears of its own consent", || told(&ours).iter().any(|line| line.contains(SITE))).await;
    // And about the other one, whatever else was told to it, there is nothing of ours.
    let theirs = told(&theirs);
    assert!(theirs.iter().all(|line| !line.contains(SITE)), "{theirs:#?}");
    assert!(told(&ours).iter().all(|line| !line.contains(OTHER)));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nonce_comes_twice() {
    let (door, gateway) = gate("", |_| {}).await;
    let mut all = BTreeSet::new();
    for _ in 0..2 {
        let practice = Practice::link(gateway, fingerprint(door.path()), 1).await;
        for n in 1..=20 {
            until("a nonce comes", || practice.nonces.lock().unwrap().len() >= n).await;
            practice.say(ToGateway::Changed).await;
        }
        all.extend(practice.nonces.lock().unwrap().iter().take(20).cloned());
    }
    assert_eq!(all.len(), 40, "{all:?}");
    // 32 bytes in base64.
    assert!(all.iter().all(|nonce| nonce.len() == 43), "{all:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_it_grants_anything_and_no_other_is() {
    let (door, gateway) = gate("", |_| {}).await;
    let host_key = fingerprint(door.path());
    let open = Practice::link(gateway, host_key.clone(), 1).await;
    let closed = Practice::of(gateway, OTHER, host_key, 2).await;
    door.wait_for("link", 2).await;
    open.allow(&[("firm", &[], 600)]).await;
    let asked = |practice: &Practice| practice.nonces.lock().unwrap().len();
    // With the link, for the change, and by itself after 15 seconds; the lease lasts 45.
    until("it is asked for again", || asked(&open) >= 3).await;
    assert_eq!(asked(&closed), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_when_its_key_has_expired() {
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = ahead.clone();
    let (door, gateway) = gate("expiry-time=\"20990101Z\" ", move |setup| {
        setup.clock = Clock::of(move || {
            Clock::system().now() + SignedDuration::from_hours(clock.load(Ordering::SeqCst))
        });
    })
    .await;
    let practice = Practice::link(gateway, fingerprint(door.path()), 1).await;
    let other = Practice::of(gateway, OTHER, fingerprint(door.path()), 2).await;
    door.wait_for("link", 2).await;
    // No file changes: the look that time alone brings about.
    let looks = || (0..40).for_each(|_| door.house.front().recheck());
    looks();
    assert!(!practice.is_over());
    ahead.store(24 * 365 * 80, Ordering::SeqCst);
    let begun = Instant::now();
    while !practice.is_over() {
        assert!(begun.elapsed() < WITHIN, "an expired key keeps its link");
        looks();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!other.is_over(), "another site's key has not expired");
    let refused = practice::ssh(gateway, &format!("site:{SITE}"), 1, practice::IDENT).await;
    assert!(refused.is_err());
    door.close().await;
}
