//! A practice's clock that is wrong, or is set while the door is open: real programs, the wall's clock bent by libfaketime.
//! Absent on purpose: what the lights and the switch do by clocks of a test's own (`site::switch::tests`, `site_link.rs`).
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::wires;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use wires::{Gateway, HOST, SITE, Site, World};

const SOON: Duration = Duration::from_secs(20);
/// As long as the practice opens for; the least that can be said.
const SAID: Duration = Duration::from_mins(1);
/// An end is looked for ten times a second, and ssh takes its time to go.
const LATE: Duration = Duration::from_secs(4);

/// A practice whose wall clock reads what a file says beside the real one; what counts time for a program is left alone.
struct Bent {
    world: World,
    gateway: Gateway,
    site: Site,
    clock: PathBuf,
    _sshd: Child,
}

impl Bent {
    /// Linked and closed, its clock so many days ahead.
    async fn by(days: i64) -> Self {
        let world = World::new();
        let gateway = world.gateway("198.51.100.1").await;
        let sshd = world.sshd(&[&gateway]);
        let site = world.site(&[&gateway], "");
        let clock = world.dir.path().join("clock");
        let mut bent = Self { world, gateway, site, clock, _sshd: sshd };
        bent.set(days);
        let file = bent.clock.to_str().unwrap().to_owned();
        let environment = [
            // The loader fills $LIB in.
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        bent.site.begin_with(&bent.world, &environment).await;
        bent.gateway.linked(1, SOON).await;
        assert_eq!(bent.days(&bent.site.status().await), days, "the site's clock is not bent");
        bent
    }

    /// From now on so many days ahead of the real time.
    fn set(&self, days: i64) {
        let new = self.clock.with_extension("new");
        std::fs::write(&new, format!("{days:+}d\n")).unwrap();
        std::fs::rename(new, &self.clock).unwrap();
    }

    /// How many days the site's clock is ahead, as it shows.
    fn days(&self, status: &Value) -> i64 {
        let shown: Timestamp = status["now"].as_str().unwrap().parse().unwrap();
        (shown.duration_since(Timestamp::now()).as_hours() + 12).div_euclid(24)
    }

    /// Until the light of the clock is so.
    async fn light(&self, shine: &str) -> String {
        let begun = Instant::now();
        loop {
            let status = self.site.status().await;
            let light = status["lights"].as_array().unwrap().iter().find(|light| light["about"] == "clock");
            let light = light.unwrap();
            if light["shine"] == shine {
                return light["says"]["en"].as_str().unwrap().to_owned();
            }
            assert!(begun.elapsed() < SOON, "{light:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_refused(&self) {
        let refused = self.world.ran(&self.gateway, &[HOST, "echo there"]).await;
        assert!(refused.code == 255 && refused.stdout.is_empty(), "{refused:?}");
    }

    /// A session that says when it is in, and lasts for longer than anybody is let in.
    async fn visit(&self) -> Child {
        let mut ssh = self.world.ssh(&self.gateway, &[HOST, "echo in; exec sleep 600"]);
        let mut child = ssh.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut first = [0; 3];
        let mut out = child.stdout.take().unwrap();
        tokio::time::timeout(SOON, out.read_exact(&mut first)).await.unwrap().unwrap();
        child
    }

    /// Opened for [`SAID`] and named; from when on at the earliest, and at the latest.
    async fn open(&self) -> (Instant, Instant) {
        let earliest = Instant::now();
        self.site.does(&["open", "--for", "1m"]).await;
        let latest = Instant::now();
        self.site.does(&["allow", "firm"]).await;
        self.world.settles(&self.gateway, true, SOON).await;
        (earliest, latest)
    }

    /// The visit ends when the time that was said is over, by the real clock; and nobody comes any more.
    async fn ends_in_time(&self, mut visiting: Child, (earliest, latest): (Instant, Instant)) {
        let ended = tokio::time::timeout(SAID + SOON, visiting.wait()).await.expect("it stays open").unwrap();
        assert!(!ended.success());
        // Not before: an early end would be the clock's, too.
        assert!(latest.elapsed() + Duration::from_secs(1) >= SAID, "after {:?}", latest.elapsed());
        assert!(earliest.elapsed() <= SAID + LATE, "after {:?}", earliest.elapsed());
        // A lease counts whole seconds, so the gateway may be up to one before the switch.
        loop {
            let status = self.site.status().await;
            if status["switch"]["open"] == false {
                break;
            }
            assert!(earliest.elapsed() <= SAID + LATE, "after {:?}: {status:#}", earliest.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.is_refused().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_three_days_ahead_opens_for_as_long_as_was_said_and_its_light_is_red() {
    let bent = Bent::by(3).await;
    assert!(bent.light("red").await.contains("minutes fast"));
    bent.is_refused().await;
    let opened = bent.open().await;
    let visiting = bent.visit().await;
    // What is shown is that clock's, and as far away as it really is.
    let status = bent.site.status().await;
    let of = |text: &Value| text.as_str().unwrap().parse::<Timestamp>().unwrap();
    let left = of(&status["switch"]["until"]).duration_since(of(&status["now"]));
    assert!(left > SignedDuration::ZERO && left <= SignedDuration::from_secs(60), "{left:?}");
    bent.ends_in_time(visiting, opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_clock_three_days_back_who_asks_is_let_in_for_as_long_as_was_said() {
    let bent = Bent::by(-3).await;
    assert!(bent.light("red").await.contains("minutes slow"));
    bent.is_refused().await;
    let words = ["gateway", "ask", SITE, "--why", "restore", "--for", "1m"];
    let asking = bent.world.ran(&bent.gateway, &words);
    let granting = async {
        let begun = Instant::now();
        let id = loop {
            let status = bent.site.status().await;
            if let Some(id) = status["asks"][0]["id"].as_str() {
                break id.to_owned();
            }
            assert!(begun.elapsed() < SOON, "{status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let earliest = Instant::now();
        bent.site.does(&["grant", &id]).await;
        (earliest, Instant::now())
    };
    let (asked, opened) = tokio::join!(asking, granting);
    assert_eq!(asked.code, 0, "{asked:?}");
    bent.world.settles(&bent.gateway, true, SOON).await;
    let visiting = bent.visit().await;
    bent.ends_in_time(visiting, opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_while_it_is_open_keeps_no_door_open() {
    let bent = Bent::by(0).await;
    bent.light("green").await;
    let opened = bent.open().await;
    let visiting = bent.visit().await;
    bent.set(-3);
    assert!(bent.light("red").await.contains("minutes slow"));
    assert_eq!(bent.days(&bent.site.status().await), -3);
    // The jump ends nothing by itself, either.
    bent.world.settles(&bent.gateway, true, SOON).await;
    bent.ends_in_time(visiting, opened).await;
    bent.set(0);
    bent.light("green").await;
    bent.is_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_ahead_while_it_is_open_closes_and_can_be_opened_again() {
    let bent = Bent::by(0).await;
    bent.open().await;
    let mut visiting = bent.visit().await;
    let begun = Instant::now();
    bent.set(3);
    // By the wall it is over: closed too early is the safe side.
    let ended = tokio::time::timeout(SOON, visiting.wait()).await.expect("it stays open").unwrap();
    assert!(!ended.success() && begun.elapsed() <= LATE, "after {:?}", begun.elapsed());
    bent.is_refused().await;
    assert!(bent.light("red").await.contains("minutes fast"));
    let opened = bent.open().await;
    let visiting = bent.visit().await;
    // Somebody sets it right: that is a jump back.
    bent.set(0);
    bent.light("green").await;
    bent.ends_in_time(visiting, opened).await;
}
