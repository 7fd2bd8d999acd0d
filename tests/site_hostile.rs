//! A gateway that was taken over, against the site's agent: floods, huge lines, wrong order, endless streams, channels unasked.
//! The link is dropped or the wish refused; memory stays bounded; the program goes on and the switch with it.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::posing;

use std::time::Duration;

use jiff::Timestamp;
use pforte::link::frames::{Asked, Head, Reply, ToGateway, ToSite, Visitor, Wish};
use pforte::link::{read_line, write_line};
use posing::site::{Site, allowing, table};
use posing::{Gateway, OPEN, Talk, cause, echo, soon};
use tokio::io::AsyncWriteExt as _;

const JANE: &str = "firm-jane.doe";
/// What the program may ever hold, in MiB.
const MEMORY: usize = 120;

async fn linked() -> (Gateway, Site, Talk) {
    let (mut gateway, site) = running().await;
    let talk = gateway.linked().await;
    (gateway, site, talk)
}

async fn running() -> (Gateway, Site) {
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let gateway = Gateway::start(1, Some(site.public.clone())).await;
    site.configure("", &table(gateway.address, 1));
    site.start().await;
    (gateway, site)
}

/// It goes on: the terminal is answered, the link comes back, and no memory was lost to it.
async fn goes_on(gateway: &mut Gateway, site: &mut Site, how: &str) {
    let _again = gateway.linked().await;
    assert!(site.is_alive(), "{how}: {}", site.log());
    site.does(&["open"]).await;
    site.does(&["close"]).await;
    assert!(site.most_memory() < MEMORY, "{how}: {} MiB", site.most_memory());
    assert!(!site.log().contains("panicked"), "{how}: {}", site.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_out_of_order_too_long_or_not_understood_end_the_link() {
    let hello = || ToSite::Hello { version: 1, now: Timestamp::now(), seen_from: "x".into() };
    let says = async |talk: &mut Talk, text: &[u8]| {
        talk.to.write_all(text).await.ok();
        talk.to.flush().await.ok();
    };
    for how in ["second-hello", "unknown", "no-json", "long", "alive", "nonce"] {
        let (mut gateway, mut site, mut talk) = linked().await;
        match how {
            "second-hello" => talk.say(&hello()).await,
            "unknown" => says(&mut talk, b"{\"is\":\"open-sesame\"}\n").await,
            "no-json" => says(&mut talk, b"GET / HTTP/1.1\r\n\r\n").await,
            "long" => says(&mut talk, &vec![b'x'; 200_000]).await,
            "alive" => talk.say(&ToSite::Alive { number: 99 }).await,
            _ => talk.say(&ToSite::Renew { nonce: "n".repeat(1000) }).await,
        }
        soon(talk.up.mux.gone().cancelled()).await;
        goes_on(&mut gateway, &mut site, how).await;
        let causes: Vec<String> = site.record().iter().map(|line| line["cause"].to_string()).collect();
        assert!(causes.iter().any(|cause| cause.contains("hostile")), "{how}: {causes:?}");
    }
    // Nothing counts before the first line, and an old version does not.
    for how in ["before-hello", "version"] {
        let (mut gateway, mut site) = running().await;
        let mut up = gateway.up().await;
        let mut control = soon(up.mux.next()).await.unwrap();
        let first = match how {
            "version" => ToSite::Hello { version: 0, now: Timestamp::now(), seen_from: String::new() },
            _ => ToSite::Renew { nonce: "n".into() },
        };
        write_line(&mut control, &first).await.unwrap();
        soon(up.mux.gone().cancelled()).await;
        goes_on(&mut gateway, &mut site, how).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_end_are_bounded() {
    let (target, _) = echo().await;
    let (mut gateway, mut site) = running().await;
    // Once it has come: a site that is stopped at once may never have dialled.
    drop(gateway.up().await);
    site.stop().await;
    let quick = format!("{}[link]\nalive = \"2s\"\n", table(gateway.address, 1));
    site.configure(&allowing(&[target]), &quick);
    site.start().await;
    let talk = gateway.linked().await;
    site.does(&["open"]).await;
    site.does(&["allow", JANE]).await;
    // As many as there may be, and one more is told so.
    let mut held = Vec::new();
    for n in 0..32 {
        let (stream, reply) = talk.dial(JANE, &format!("01J{}", n % 4), target).await;
        assert_eq!(reply, OPEN, "{n}");
        held.push(stream);
    }
    assert_eq!(cause(&talk.dial(JANE, "01J0", target).await.1), "too-many");
    drop(held);
    site.until(|view| view.present.is_empty()).await;
    assert_eq!(talk.dial(JANE, "01J9", target).await.1, OPEN);
    // 10,000 of them: the link goes, the program does not.
    let flood = async {
        let mut all = Vec::new();
        for n in 0..10_000 {
            let Ok(mut stream) = talk.up.mux.open().await else { break };
            let visitor = Visitor {
                user: JANE.into(),
                session: format!("01J{n}"),
                family: "hop backup".into(),
                command: String::new(),
            };
            let head = Head { visitor, wish: Wish::Dial { to: target.to_string() } };
            if write_line(&mut stream, &head).await.is_err() {
                break;
            }
            all.push(stream);
        }
        drop(all);
    };
    tokio::time::timeout(Duration::from_secs(60), flood).await.ok();
    talk.up.mux.gone().cancel();
    goes_on(&mut gateway, &mut site, "10,000 streams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_bounded_however_many_gateways_they_come_from() {
    let (target, _) = echo().await;
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let mut gateways = Vec::new();
    for seed in 1..=3 {
        gateways.push(Gateway::start(seed, Some(site.public.clone())).await);
    }
    let tables: String = (1..).zip(&gateways).map(|(seed, gateway)| table(gateway.address, seed)).collect();
    site.configure(&allowing(&[target]), &tables);
    site.start().await;
    let mut talks = Vec::new();
    for gateway in &mut gateways {
        talks.push(gateway.linked().await);
    }
    site.does(&["open"]).await;
    site.does(&["allow", JANE]).await;
    // As many as two links carry, each a visit of its own; the third link is empty.
    let mut held = Vec::new();
    for n in 0..64 {
        let (stream, reply) = talks[n / 32].dial(JANE, &format!("01JA{n}"), target).await;
        assert_eq!(reply, OPEN, "{n}");
        held.push(stream);
    }
    assert_eq!(cause(&talks[2].dial(JANE, "01JB0", target).await.1), "too-many");
    assert!(site.is_alive() && site.most_memory() < MEMORY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_none_is_refused_and_a_huge_one_not_kept() {
    let (_gateway, mut site, talk) = linked().await;
    for head in [&b"{}\n"[..], b"\n", b"{\"visitor\":7}\n", b"SSH-2.0-x\r\n", &[0xff; 100_000]] {
        let mut stream = talk.up.mux.open().await.unwrap();
        stream.write_all(head).await.ok();
        stream.flush().await.ok();
        let reply = soon(read_line::<Reply>(&mut stream)).await.unwrap();
        assert_eq!(cause(&reply), "not-understood");
    }
    assert!(site.is_alive() && site.most_memory() < MEMORY);
    let refused = || site.events().iter().filter(|event| *event == "refused").count();
    soon(async {
        while refused() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_is_ended_and_one_that_says_too_much_of_its_command_refused() {
    let (_gateway, site, talk) = linked().await;
    let mut silent = talk.up.mux.open().await.unwrap();
    // The other side learns of it with its first byte.
    silent.write_all(b"{").await.unwrap();
    silent.flush().await.unwrap();
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    for (family, command, refused) in
        [(10, 16 << 10, "not-listed"), (10, (16 << 10) + 1, "not-understood"), (257, 10, "not-understood")]
    {
        let visitor = Visitor {
            user: "firm-jane.doe".into(),
            session: "01JDV6Q0000000000000000000".into(),
            family: "f".repeat(family),
            command: "c".repeat(command),
        };
        let mut stream = talk.up.mux.open().await.unwrap();
        let wish = Wish::Dial { to: "127.0.0.1:1".into() };
        write_line(&mut stream, &Head { visitor, wish }).await.unwrap();
        let reply = soon(read_line::<Reply>(&mut stream)).await.unwrap();
        assert_eq!(cause(&reply), refused, "{family} {command}");
    }
    // What it names is kept without what a terminal would obey.
    let visitor = Visitor {
        user: JANE.into(),
        session: "01JDV6Q0000000000000000000".into(),
        family: "hop backup".into(),
        command: String::new(),
    };
    let wish = Wish::Dial { to: "127.0.0.1:1\u{1b}[2J\n".into() };
    let mut stream = talk.up.mux.open().await.unwrap();
    write_line(&mut stream, &Head { visitor, wish }).await.unwrap();
    assert_eq!(cause(&soon(read_line::<Reply>(&mut stream)).await.unwrap()), "not-listed");
    let kept = || site.record().iter().any(|line| line["cause"] == "not-listed: 127.0.0.1:1[2J");
    soon(async {
        while !kept() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Within 15 seconds.
    let reply = soon(read_line::<Reply>(&mut silent)).await.unwrap();
    assert_eq!(cause(&reply), "not-understood");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_nobody_asked_for_are_refused_and_the_link_goes_on() {
    let (gateway, mut site, mut talk) = linked().await;
    let handle = talk.up.handle.clone();
    assert!(soon(handle.channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1)).await.is_err());
    assert!(soon(handle.channel_open_session()).await.is_err());
    assert!(soon(handle.channel_open_agent()).await.is_err());
    let fingerprint = gateway.fingerprint();
    assert!(talk.lease(&site, &fingerprint).await.is_empty());
    assert!(site.is_alive() && gateway.connections() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_in_floods_costs_bounded_memory_and_the_link() {
    let (mut gateway, mut site, mut talk) = linked().await;
    let huge = "z".repeat(50 << 10);
    for n in 0..3000 {
        let line = format!("{{\"event\":\"input\",\"session\":\"01J{n}\",\"command\":\"{huge}\"}}");
        if write_line(&mut talk.to, &ToSite::Told { line }).await.is_err() {
            break;
        }
    }
    assert!(site.is_alive() && site.most_memory() < MEMORY, "{} MiB", site.most_memory());
    let short = ToSite::Told { line: "{}".into() };
    let flood = async { while write_line(&mut talk.to, &short).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), flood).await.expect("the flood is taken for ever");
    goes_on(&mut gateway, &mut site, "told").await;
    let causes: Vec<String> = site.record().iter().map(|line| line["cause"].to_string()).collect();
    assert!(causes.iter().any(|cause| cause.contains("flood")), "{causes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_a_few_are_shown_and_the_others_told_no() {
    let (_gateway, mut site, mut talk) = linked().await;
    for n in 0..40 {
        let ask = Asked {
            id: format!("A{n}"),
            user: if n == 0 { "../../etc".into() } else { JANE.into() },
            firm: "firm".into(),
            why: "w".repeat(10_000),
            minutes: u32::MAX,
            at: Timestamp::MIN,
        };
        talk.say(&ToSite::Ask(ask)).await;
    }
    let denied = |line| match line {
        ToGateway::Answer { id, allowed } => Some((id, allowed)),
        _ => None,
    };
    assert_eq!(talk.hear(denied).await, ("A0".into(), false));
    assert_eq!(talk.hear(denied).await, ("A17".into(), false));
    let view = site.until(|view| view.asks.len() == 16).await;
    assert!(view.asks.iter().all(|ask| ask.why.len() <= 1024 && ask.minutes == 240));
    assert!(site.is_alive());
}
