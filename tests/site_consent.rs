//! What a gateway gets through its link: only what the customer said, only as long as they said, only what `site.toml` lists.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::posing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pforte::link::frames::{Asked, Reply, ToGateway, ToSite, Wish};
use pforte::site::desk::DeedKind;
use posing::site::{Disk, Site, allowing, secret, table};
use posing::{Gateway, OPEN, Talk, cause, cut, echo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const JANE: &str = "firm-jane.doe";
const SESSION: &str = "01JDV6Q0000000000000000000";

struct Stage {
    gateway: Gateway,
    site: Site,
    talk: Talk,
    target: SocketAddr,
    came: Arc<AtomicUsize>,
}

async fn stage(more: &str) -> Stage {
    let (target, came) = echo().await;
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let mut gateway = Gateway::start(1, Some(site.public.clone())).await;
    site.configure(&allowing(&[target]), &format!("{}{more}", table(gateway.address, 1)));
    site.start().await;
    let talk = gateway.linked().await;
    Stage { gateway, site, talk, target, came }
}

impl Stage {
    async fn dial(&self, user: &str) -> String {
        cause(&self.talk.dial(user, SESSION, self.target).await.1)
    }

    async fn lease(&mut self) -> Vec<String> {
        let gateway = self.gateway.fingerprint();
        let grants = self.talk.lease(&self.site, &gateway).await;
        grants.into_iter().map(|grant| grant.who.to_string()).collect()
    }
}

fn changed(line: ToGateway) -> Option<()> {
    matches!(line, ToGateway::Changed).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_before_both_steps_and_who_was_not_named_never() {
    let mut stage = stage("").await;
    assert_eq!(stage.dial(JANE).await, "switch-closed");
    assert!(stage.lease().await.is_empty());
    stage.site.does(&["open", "--for", "30m"]).await;
    stage.talk.hear(changed).await;
    assert_eq!(stage.dial(JANE).await, "not-named");
    assert!(stage.lease().await.is_empty());
    stage.site.does(&["allow", "firm"]).await;
    assert_eq!(stage.lease().await, ["firm"]);
    for other in ["other-jane.doe", "firma-jane.doe"] {
        assert_eq!(stage.dial(other).await, "not-named", "{other}");
    }
    assert_eq!(stage.dial("@schedule").await, "switch-closed");
    assert_eq!(stage.dial("root").await, "not-understood");
    assert_eq!(stage.came.load(Ordering::SeqCst), 0, "nothing was dialled for any of them");
    let (mut stream, reply) = stage.talk.dial(JANE, SESSION, stage.target).await;
    assert_eq!(reply, OPEN);
    // Half-close: the end of one way is not the end of the other.
    stream.write_all(&vec![7; 300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    posing::soon(stream.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_does_not_list_is_not_reached_however_it_is_written() {
    let stage = stage("").await;
    stage.site.does(&["open"]).await;
    stage.site.does(&["allow", JANE]).await;
    let port = stage.target.port();
    for to in [
        format!("localhost:{port}"),
        format!("127.0.0.1:0{port}"),
        format!("127.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("127.0.0.1:{port} "),
        "127.0.0.1:22".to_owned(),
        "169.254.169.254:80".to_owned(),
        String::new(),
    ] {
        let (_, reply) = stage.talk.open(JANE, SESSION, Wish::Dial { to: to.clone() }).await;
        assert_eq!(cause(&reply), "not-listed", "{to}");
    }
    for name in ["main", "../main", ""] {
        let (_, reply) = stage.talk.open(JANE, SESSION, Wish::Konnektor { name: name.into() }).await;
        assert_eq!(cause(&reply), "not-listed", "{name}");
    }
    assert_eq!(stage.came.load(Ordering::SeqCst), 0);
    assert!(stage.site.events().contains(&"refused".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_a_withdrawal_and_an_end_cut_within_a_second() {
    let mut stage = stage("").await;
    for how in ["close", "withdraw", "end"] {
        stage.site.does(&["open"]).await;
        stage.site.does(&["allow", "firm"]).await;
        let session = format!("01JDV6Q{how}");
        let (mut stream, reply) = stage.talk.dial(JANE, &session, stage.target).await;
        assert_eq!(reply, OPEN, "{how}");
        stage.site.until(|view| view.present.iter().any(|here| here.visit == session)).await;
        // It runs while nobody says anything.
        stream.write_all(b"x").await.unwrap();
        let mut one = [0];
        posing::soon(stream.read_exact(&mut one)).await.unwrap();
        let site = &stage.site;
        let words: &[&str] = match how {
            "close" => &["close"],
            "withdraw" => &["withdraw", "firm"],
            _ => &["end", &session],
        };
        let (_, took) = tokio::join!(site.does(words), cut(&mut stream));
        assert!(took < Duration::from_secs(1), "{how}: {took:?}");
        match how {
            "close" => stage.talk.hear(|line| matches!(line, ToGateway::Closed).then_some(())).await,
            _ => {
                let ended = |line| match line {
                    ToGateway::End { session } => Some(session),
                    _ => None,
                };
                assert_eq!(stage.talk.hear(ended).await, session);
            }
        }
        assert_eq!(
            cause(&stage.talk.dial(JANE, &session, stage.target).await.1),
            match how {
                "close" => "switch-closed",
                _ => "not-named",
            }
        );
    }
    // The firm was not withdrawn by the last one: its other people come.
    let (_stream, reply) = stage.talk.dial("firm-max.m", "01JDV6QX", stage.target).await;
    assert_eq!(reply, OPEN);
    assert_eq!(stage.lease().await, ["firm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_job_reaches_boxes_alone_and_is_ended_though_the_standing_order_holds() {
    let (target, came) = echo().await;
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let mut gateway = Gateway::start(1, Some(site.public.clone())).await;
    secret(&site.home().join("secrets/konnektor"), "not-used");
    let tables = format!(
        "{}[konnektor.main]\nproduct = \"kocobox\"\naddress = \"127.0.0.1:1\"\ncertificate = \"sha256:{}\"\nuser = \"u\"\n\
         password = {{ file = \"secrets/konnektor\" }}\n",
        table(gateway.address, 1),
        "ab".repeat(32)
    );
    site.configure(&allowing(&[target]), &tables);
    site.start().await;
    let talk = gateway.linked().await;
    let main = || Wish::Konnektor { name: "main".into() };
    let (_, closed) = talk.open("@schedule", SESSION, main()).await;
    assert_eq!(cause(&closed), "switch-closed");
    site.does(&["standing", "backup", "on"]).await;
    // What the file lists is for people; a job makes backups.
    let (_, dialled) = talk.dial("@schedule", SESSION, target).await;
    assert_eq!((cause(&dialled).as_str(), came.load(Ordering::SeqCst)), ("not-named", 0));
    let (_, person) = talk.open(JANE, SESSION, main()).await;
    assert_eq!(cause(&person), "switch-closed");
    let (mut stream, reply) = talk.open("@schedule", SESSION, main()).await;
    assert!(matches!(reply, Reply::Open { .. }), "{reply:?}");
    site.until(|view| view.present.iter().any(|here| here.visit == SESSION)).await;
    let (_, took) = tokio::join!(site.does(&["end", SESSION]), cut(&mut stream));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let (_, again) = talk.open("@schedule", SESSION, main()).await;
    assert_eq!(cause(&again), "not-named");
    // The order is as it was: the next night's job comes.
    let (_stream, reply) = talk.open("@schedule", "01JDV6Q0000000000000000001", main()).await;
    assert!(matches!(reply, Reply::Open { .. }), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_cuts_what_ran_over_it() {
    let stage = stage("").await;
    stage.site.does(&["open"]).await;
    stage.site.does(&["allow", "firm"]).await;
    let (mut stream, reply) = stage.talk.dial(JANE, SESSION, stage.target).await;
    assert_eq!(reply, OPEN);
    stage.talk.up.mux.gone().cancel();
    cut(&mut stream).await;
    let view = stage.site.until(|view| view.present.is_empty() && !view.visits.is_empty()).await;
    assert_eq!(view.visits[0].ended, "link-lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_closes_it_and_when_possible_opens_it_for_nobody() {
    let mut stage = stage("").await;
    stage.site.does(&["open"]).await;
    stage.site.does(&["allow", "firm"]).await;
    stage.site.kill().await;
    stage.site.start().await;
    let _before = stage.gateway.linked().await;
    let view = stage.site.view().await;
    assert!(!view.switch.open && view.named.is_empty(), "{view:?}");
    stage.site.does(&["standing", "when-possible", "on"]).await;
    stage.site.does(&["standing", "backup", "on"]).await;
    stage.site.stop().await;
    stage.site.start().await;
    let view = stage.site.until(|view| view.switch.open).await;
    assert!(view.named.is_empty() && view.switch.backup_only && view.switch.when_possible, "{view:?}");
    stage.talk = stage.gateway.linked().await;
    assert_eq!(stage.lease().await, ["@schedule"]);
    assert_eq!(stage.dial(JANE).await, "not-named");
    let (_, reply) = stage.talk.dial("@schedule", SESSION, stage.target).await;
    assert_eq!(cause(&reply), "not-named", "a nightly job dials nothing");
    stage.site.does(&["standing", "backup", "off"]).await;
    assert!(stage.lease().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_shown_granted_for_their_time_or_denied() {
    let mut stage = stage("").await;
    let ask = |id: &str, user: &str, minutes| {
        ToSite::Ask(Asked {
            id: id.into(),
            user: user.into(),
            firm: "firm".into(),
            why: "Drucker\u{1b}[2J kaputt".into(),
            minutes,
            at: jiff::Timestamp::now(),
        })
    };
    stage.talk.say(&ask("A1", JANE, 10)).await;
    stage.talk.say(&ask("A2", "other-max.m", 100_000)).await;
    let view = stage.site.until(|view| view.asks.len() == 2).await;
    assert_eq!((view.asks[0].why.as_str(), view.asks[0].minutes), ("Drucker[2J kaputt", 10));
    assert_eq!(view.asks[1].minutes, 240, "never longer than the most");
    stage.site.does(&["deny", "A2"]).await;
    let answered = |line| match line {
        ToGateway::Answer { id, allowed } => Some((id, allowed)),
        _ => None,
    };
    assert_eq!(stage.talk.hear(answered).await, ("A2".into(), false));
    stage.site.does(&["grant", "A1"]).await;
    assert_eq!(stage.talk.hear(answered).await, ("A1".into(), true));
    assert_eq!(stage.lease().await, [JANE]);
    let view = stage.site.view().await;
    let left = view.named[0].until.duration_since(view.now);
    assert!(left.as_secs() <= 600 && left.as_secs() > 580, "{left}");
    let (_stream, reply) = stage.talk.dial(JANE, SESSION, stage.target).await;
    assert_eq!(reply, OPEN);
    let view = stage.site.until(|view| !view.present.is_empty()).await;
    assert_eq!(view.present[0].why.as_deref(), Some("Drucker[2J kaputt"));
    assert_eq!((view.present[0].firm.as_str(), view.asks.len()), ("Systemhaus Muster", 0));
    assert_eq!(stage.site.says(&["grant", "A1"]).await.code, 1);
    // Who asks no more is gone, and all of them with the link.
    stage.talk.say(&ask("A3", JANE, 10)).await;
    stage.talk.say(&ask("A4", JANE, 10)).await;
    stage.site.until(|view| view.asks.len() == 2).await;
    stage.talk.say(&ToSite::AskGone { id: "A3".into() }).await;
    stage.site.until(|view| view.asks.len() == 1).await;
    drop(stage.talk);
    stage.site.until(|view| view.asks.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_has_a_signed_report_that_ssh_keygen_checks() {
    let mut stage = stage("").await;
    stage.site.does(&["open"]).await;
    stage.site.does(&["allow", "firm"]).await;
    let (stream, reply) = stage.talk.dial(JANE, SESSION, stage.target).await;
    assert_eq!(reply, OPEN);
    let told = format!(
        "{{\"seq\":7,\"event\":\"input\",\"session\":\"{SESSION}\",\"command\":\"systemctl restart x\"}}"
    );
    stage.talk.say(&ToSite::Told { line: told.clone() }).await;
    let view = stage.site.until(|view| view.present.iter().any(|here| !here.deeds.is_empty())).await;
    assert_eq!(view.present[0].deeds[0].kind, DeedKind::Typed);
    drop(stream);
    stage.site.until(|view| view.visits.iter().any(|past| past.reported)).await;
    let ran = stage.site.says(&["report", SESSION]).await;
    assert!(ran.code == 0 && ran.out.contains("systemctl restart x"), "{ran:?}");
    let ran = stage.site.says(&["report", "--verify"]).await;
    assert!(ran.code == 0 && ran.err.contains("genuine"), "{ran:?}");
    let json = stage.site.says(&["report", SESSION, "--json"]).await.out;
    let visit: pforte::site::desk::Visit = serde_json::from_str(&json).unwrap();
    assert_eq!((visit.lines.as_slice(), visit.past.ended.as_str()), ([told].as_slice(), "left"));
    // As somebody does it without us.
    let folder = stage.site.home().join("state/visits");
    let key = stage.site.public.to_openssh().unwrap();
    let signers = stage.site.dir.path().join("allowed_signers");
    std::fs::write(&signers, format!("praxis-mueller {key}\n")).unwrap();
    let check = |json: std::path::PathBuf| {
        let file = std::fs::File::open(json).unwrap();
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-I", "praxis-mueller", "-n", "pforte-visit", "-f"]).arg(&signers);
        keygen.arg("-s").arg(folder.join(format!("{SESSION}.json.sig"))).stdin(file);
        keygen.output().unwrap().status.success()
    };
    assert!(check(folder.join(format!("{SESSION}.json"))));
    let forged = stage.site.dir.path().join("forged");
    std::fs::write(&forged, json.replace("restart", "stop")).unwrap();
    assert!(!check(forged));
    assert_eq!(stage.site.says(&["report", "01JNOBODY"]).await.code, 1);
    assert_eq!(stage.site.says(&["report", "../../site"]).await.code, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_no_opening_and_a_close_all_the_same() {
    let mut stage = stage("").await;
    stage.site.stop().await;
    let disk = Disk::over(&stage.site);
    stage.site.start().await;
    stage.talk = stage.gateway.linked().await;
    stage.site.does(&["open"]).await;
    stage.site.does(&["allow", JANE]).await;
    let (mut stream, reply) = stage.talk.dial(JANE, SESSION, stage.target).await;
    assert_eq!(reply, OPEN);
    disk.fill();
    // The file's last block still takes some.
    let mut ran = stage.site.says(&["allow", "other"]).await;
    for _ in 0..100 {
        if ran.code != 0 {
            break;
        }
        stage.site.does(&["withdraw", "other"]).await;
        ran = stage.site.says(&["allow", "other"]).await;
    }
    assert_eq!(ran.code, 254, "{ran:?}");
    assert_eq!(stage.lease().await, [JANE], "nothing was changed");
    let (_, reply) = stage.talk.dial(JANE, "01JDV6QX", stage.target).await;
    assert_eq!(reply, Reply::Away { cause: "site-record-not-written".into(), error: None });
    let site = &stage.site;
    let (ran, took) = tokio::join!(site.says(&["close"]), cut(&mut stream));
    assert!(ran.code == 0 && took < Duration::from_secs(1), "{ran:?} {took:?}");
    assert_eq!(stage.site.says(&["open"]).await.code, 254);
    drop(disk);
}
