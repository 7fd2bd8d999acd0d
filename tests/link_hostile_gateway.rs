//! A hostile gateway at a site's Konnektor: beyond what the visitor's family may it gets nothing, and it holds up nobody.
//! Absent on purpose: a hostile site; see `link_hostile.rs`.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::linked;

use std::sync::Arc;
use std::time::Duration;

use linked::{Linked, QUICK, bench, id, until, visitor};
use pforte::konnektor::Error;
use pforte::konnektor::simulator::Make;
use pforte::link::frames::{Broken, Call, Called, Head, Refusal, Wish};
use pforte::link::lease::SCHEDULE;
use pforte::link::{Stream, read_line, write_line};
use pforte::names::ServiceName;
use pforte::site::konnektor::{Ended, Patience as AtSite};
use pforte::uplink::{NoWay, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DONE: Called = Called::Done { answer: None };

fn ntp() -> ServiceName {
    "ntpservice".parse().unwrap()
}

/// A gateway's own hand on a stream to an honest site.
struct Hand(Stream);

async fn hand(linked: &Arc<Linked>, family: &str, command: &str) -> Hand {
    let mut who = visitor(family);
    who.command = command.into();
    let head = Head { visitor: who, wish: Wish::konnektor(&id().konnektor) };
    Hand(linked.open(&id().site, &head).await.unwrap().0)
}

impl Hand {
    /// Says this and gives the answer, if there is one.
    async fn says(&mut self, call: &Call, body: &[u8]) -> Option<Called> {
        write_line(&mut self.0, call).await.ok()?;
        self.0.write_all(body).await.ok()?;
        self.0.flush().await.ok()?;
        read_line(&mut self.0).await.ok()
    }

    /// The site says no, and no more.
    async fn is_refused(mut self, call: &Call, body: &[u8]) {
        let Some(Called::Failed { error }) = self.says(call, body).await else { panic!("{call:?}") };
        let error = Error::from_wire(&error.0);
        assert!(matches!(error, Error::SiteRefused { .. }), "{call:?} {error:?}");
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.ok();
        assert!(rest.is_empty());
    }
}

fn write(service: &str, bytes: u64) -> Call {
    Call::Write { service: service.into(), bytes }
}

fn perform(action: &str) -> Call {
    Call::Perform { action: action.into(), bytes: None }
}

fn at(address: &str) -> Call {
    Call::At { address: address.into() }
}

#[tokio::test]
async fn a_gateway_gets_of_a_box_what_the_visitors_family_may_and_nothing_beyond() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let home = bench.spec.address.to_string();
    let mut refusals = 0;
    for family in ["konnektor status", "konnektor backup", "konnektor diff", "konnektor terminals"] {
        for (call, body) in [(write("ntpservice", 2), "{}"), (perform("reboot"), ""), (at(&home), "")] {
            hand(&linked, family, "").await.is_refused(&call, body.as_bytes()).await;
            refusals += 1;
        }
    }
    for family in ["konnektor restore", "konnektor remap"] {
        hand(&linked, family, "konnektor perform -a reboot").await.is_refused(&perform("reboot"), b"").await;
    }
    for call in [write("ntpservice", 2), at(&home)] {
        hand(&linked, "konnektor perform", "").await.is_refused(&call, b"{}").await;
    }
    let other = hand(&linked, "konnektor perform", "konnektor perform -a delete-ct").await;
    other.is_refused(&perform("reboot"), b"").await;
    assert_eq!(linked.ended(refusals + 5).await.iter().filter(|end| **end == Ended::Done).count(), 0);
    // What no profile lists is no action, unless the command spells it out.
    let mut unlisted = hand(&linked, "konnektor perform", "").await;
    let answer = unlisted.says(&perform("self-destruct"), b"").await;
    let unknown = Error::UnknownAction { action: "self-destruct".parse().unwrap() };
    assert_eq!(answer, Some(Called::Failed { error: Broken(unknown.to_wire()) }));
    assert_eq!((bench.simulator.writes(), bench.simulator.performed().len()), (0, 0));
    assert_eq!(bench.simulator.reboots(), 0);
}

#[tokio::test]
async fn the_schedule_reads_whatever_a_gateway_calls_its_family() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let linked = Linked::to(&bench.spec, |_| {});
    for family in ["konnektor backup", "konnektor restore", "konnektor perform"] {
        for (call, body) in [(write("ntpservice", 2), "{}"), (perform("reboot"), "")] {
            let mut who = visitor(family);
            who.user = SCHEDULE.into();
            let head = Head { visitor: who, wish: Wish::konnektor(&id().konnektor) };
            let mut hand = Hand(linked.open(&id().site, &head).await.unwrap().0);
            assert!(matches!(hand.says(&Call::Identify, b"").await, Some(Called::Done { .. })));
            hand.is_refused(&call, body.as_bytes()).await;
        }
    }
    assert_eq!((bench.simulator.writes(), bench.simulator.performed().len()), (0, 0));
}

#[tokio::test]
async fn where_the_site_seals_its_backups_no_value_is_read_to_make_one() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let recipient = age::x25519::Identity::generate().to_public();
    let linked = Linked::to(&bench.spec, |boxes| boxes.recipients = vec![recipient]);
    let read = Call::Read { services: vec![ntp().to_string()] };
    let before = bench.simulator.requests().len();
    hand(&linked, "konnektor backup", "").await.is_refused(&read, b"").await;
    for family in ["konnektor backup", "konnektor diff", "konnektor restore"] {
        let mut who = visitor(family);
        who.user = SCHEDULE.into();
        let head = Head { visitor: who, wish: Wish::konnektor(&id().konnektor) };
        Hand(linked.open(&id().site, &head).await.unwrap().0).is_refused(&read, b"").await;
    }
    // Nor is the box looked for at an address that the gateway names.
    let (name, at) = ("main".into(), Some(bench.spec.address.to_string()));
    let wish = Wish::Backup { name, services: vec![ntp().to_string()], at };
    let head = Head { visitor: visitor("konnektor backup"), wish };
    let mut elsewhere = linked.open(&id().site, &head).await.unwrap().0;
    let Ok(Called::Failed { error }) = read_line(&mut elsewhere).await else { panic!("it is sealed") };
    assert!(matches!(Error::from_wire(&error.0), Error::SiteRefused { .. }));
    linked.ended(5).await;
    let asked = bench.simulator.requests().into_iter().skip(before);
    assert!(!asked.into_iter().any(|request| request.path.contains("ntpservice")));
}

#[tokio::test]
async fn a_head_for_what_is_not_there_or_for_no_family_is_refused_before_the_box_is_asked() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let backup = |name: &str| Wish::Backup { name: name.into(), services: vec![], at: None };
    let konnektor = |name: &str| Wish::Konnektor { name: name.into() };
    for (family, wish, cause) in [
        ("konnektor status", konnektor("other"), Refusal::NotListed),
        ("konnektor status", konnektor("../main"), Refusal::NotListed),
        ("konnektor list", konnektor("main"), Refusal::NotUnderstood),
        ("hop backup", konnektor("main"), Refusal::NotUnderstood),
        ("*", konnektor("main"), Refusal::NotUnderstood),
        // This site seals nothing.
        ("konnektor backup", backup("main"), Refusal::NotUnderstood),
        ("konnektor status", Wish::Dial { to: "127.0.0.1:1".into() }, Refusal::NotUnderstood),
    ] {
        let head = Head { visitor: visitor(family), wish };
        match linked.open(&id().site, &head).await {
            Err(NoWay::Refused(refusal)) => assert_eq!(refusal, cause, "{head:?}"),
            _ => panic!("opened: {head:?}"),
        }
    }
    assert_eq!(bench.simulator.requests().len(), 0);
}

#[tokio::test]
async fn a_box_is_followed_into_its_own_networks_alone() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let port = bench.spec.address.port();
    let networks = |list: &'static [&str]| {
        move |boxes: &mut pforte::site::konnektor::Boxes| {
            let known = boxes.boxes.values_mut().next().unwrap();
            known.networks = list.iter().map(|network| network.parse().unwrap()).collect();
        }
    };
    let around = Linked::to(&bench.spec, |_| {});
    let listed = Linked::to(&bench.spec, networks(&["127.0.7.0/24"]));
    let elsewhere = ["8.8.8.8", "169.254.169.254", "127.1.0.1", "localhost", "[::1]"];
    for address in elsewhere {
        for linked in [&around, &listed] {
            let hand = hand(linked, "konnektor restore", "").await;
            hand.is_refused(&at(&format!("{address}:{port}")), b"").await;
        }
    }
    for address in ["127.0.0.1:22", "127.0.0.9:1", "", "x"] {
        hand(&around, "konnektor restore", "").await.is_refused(&at(address), b"").await;
    }
    let inside = |host: &str| at(&format!("{host}:{port}"));
    hand(&listed, "konnektor restore", "").await.is_refused(&inside("127.0.0.2"), b"").await;
    for (linked, host) in [(&around, "127.0.0.2"), (&listed, "127.0.7.7"), (&listed, "127.0.0.1")] {
        let mut hand = hand(linked, "konnektor restore", "").await;
        assert_eq!(hand.says(&inside(host), b"").await, Some(DONE), "{host}");
    }
}

#[tokio::test]
async fn a_write_that_is_huge_unknown_cut_or_no_json_never_gets_to_the_box() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let patience = AtSite { silence: Duration::from_millis(700), ..QUICK };
    let linked = Linked::patient(&bench.spec, patience, |_| {});
    for (call, body) in [
        (write("ntpservice", (64 << 20) + 1), ""),
        (write("ntpservice", u64::MAX), ""),
        (write("nosuchservice", 2), "{}"),
        (write("../../etc/passwd", 2), "{}"),
    ] {
        hand(&linked, "konnektor restore", "").await.is_refused(&call, body.as_bytes()).await;
    }
    let huge = Call::Perform { action: "reboot".into(), bytes: Some(u64::MAX) };
    hand(&linked, "konnektor perform", "").await.is_refused(&huge, b"").await;
    let mut no_json = hand(&linked, "konnektor restore", "").await;
    let answer = no_json.says(&write("ntpservice", 3), b"{]}").await;
    assert_eq!(answer, Some(Called::Failed { error: Broken(Error::NotJson { service: ntp() }.to_wire()) }));
    // Announced and never sent; and cut in the middle.
    let mut silent = hand(&linked, "konnektor restore", "").await;
    write_line(&mut silent.0, &write("ntpservice", 64 << 20)).await.unwrap();
    let mut cut = hand(&linked, "konnektor restore", "").await;
    write_line(&mut cut.0, &write("ntpservice", 100)).await.unwrap();
    cut.0.write_all(b"{\"half\":").await.unwrap();
    cut.0.shutdown().await.unwrap();
    let both = |ends: &[Ended]| ends.contains(&Ended::Idle) && ends.contains(&Ended::Left);
    until(|| both(&linked.site.ends.lock().unwrap())).await;
    assert_eq!(bench.simulator.writes(), 0);
}

#[tokio::test]
async fn a_gateway_that_speaks_out_of_turn_not_at_all_or_nonsense_is_left() {
    let bench = bench(Make::Kocobox, |options| options.latency = Duration::from_millis(100)).await;
    let patience = AtSite { idle: Duration::from_millis(600), ..QUICK };
    let linked = Linked::patient(&bench.spec, patience, |_| {});
    let ends = |end: Ended| {
        until({
            let linked = Arc::clone(&linked);
            move || linked.site.ends.lock().unwrap().contains(&end)
        })
    };
    let mut nonsense = hand(&linked, "konnektor status", "").await;
    nonsense.0.write_all(b"{\"is\":\"on-fire\"}\n").await.unwrap();
    ends(Ended::NotUnderstood).await;
    let mut endless = hand(&linked, "konnektor status", "").await;
    endless.0.write_all(&vec![b'x'; 200 << 10]).await.ok();
    let silent = hand(&linked, "konnektor status", "").await;
    ends(Ended::Idle).await;
    drop((silent, endless, nonsense));
    let mut hasty = hand(&linked, "konnektor status", "").await;
    let read = Call::Read { services: vec!["ntpservice".into()] };
    write_line(&mut hasty.0, &read).await.unwrap();
    write_line(&mut hasty.0, &read).await.unwrap();
    ends(Ended::Left).await;
}

#[tokio::test]
async fn what_was_announced_and_does_not_come_is_not_waited_for() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let patience = AtSite { silence: Duration::from_millis(300), ..QUICK };
    let linked = Linked::patient(&bench.spec, patience, |_| {});
    let mut writes = hand(&linked, "konnektor restore", "").await;
    write_line(&mut writes.0, &write("ntpservice", 100)).await.unwrap();
    writes.0.write_all(b"{\"half\":").await.unwrap();
    assert_eq!(linked.ended(1).await, [Ended::Idle]);
    assert_eq!(bench.simulator.writes(), 0);
}
