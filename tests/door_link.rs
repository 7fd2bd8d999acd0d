//! A site that is reached over its own link: only what the site said, only as long as it said. With OpenSSH's client and sshd.

use crate::door;
use crate::machine;
use crate::practice;

use std::time::{Duration, Instant};

use door::Setup;
use machine::{HOST, Stage};
use pforte::link::frames::ToGateway;
use pforte::link::write_line;
use practice::{Practice, SITE, behind_link, fingerprint, key, public};

const RULES: &str =
    "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\", \"konnektor backup\"]\non = [\"*\"]\n";

/// A gateway whose one site is reached over its link, and an sshd in the practice.
async fn stage(more: &str) -> Stage {
    let stage = Stage::with(more, Setup { rules: Some(RULES.into()), ..Setup::default() }).await;
    let dir = stage.door.path();
    std::fs::create_dir_all(dir.join("keys/sites")).unwrap();
    std::fs::write(dir.join(format!("keys/sites/{SITE}.pub")), public(1)).unwrap();
    let file = dir.join("policy/sites/praxis-mueller.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, behind_link(&text)).unwrap();
    stage.door.reload().await;
    stage
}

async fn linked(stage: &Stage) -> Practice {
    let gateway = ([127, 0, 0, 1], stage.door.port).into();
    Practice::link(gateway, fingerprint(stage.door.path()), 1).await
}

/// Until a login gets as far as this, or not any more.
async fn settles(stage: &Stage, code: i32) -> door::Ran {
    let begun = Instant::now();
    loop {
        let ran = stage.ssh(&["echo", "there"]).await;
        if ran.code == code || begun.elapsed() > Duration::from_secs(10) {
            assert_eq!(ran.code, code, "{ran:?}");
            return ran;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_before_consent_nor_after_it_and_those_who_are_named_do() {
    let stage = stage("").await;
    let refused = stage.ssh(&["echo", "there"]).await;
    assert_eq!(refused.code, 255);
    assert!(refused.stderr.contains("no link to this gateway"), "{refused:?}");

    let practice = linked(&stage).await;
    stage.door.wait_for("link", 1).await;
    let refused = stage.ssh(&["echo", "there"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("has not switched maintenance on"), "{refused:?}");

    practice.allow(&[("other", &[], 600)]).await;
    stage.door.wait_for("consent", 1).await;
    let refused = stage.ssh(&["echo", "there"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("but not for you"), "{refused:?}");

    practice.allow(&[("firm-jane.doe", &["konnektor backup"], 600)]).await;
    stage.door.wait_for("consent", 2).await;
    let refused = stage.ssh(&["echo", "there"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("but not for"), "{refused:?}");

    practice.allow(&[("firm", &[], 600)]).await;
    stage.door.wait_for("consent", 3).await;
    let there = settles(&stage, 0).await;
    assert_eq!(there.stdout, "there\n");
    // The site hears on whose behalf, and reads the journal's lines.
    let head = practice.heads.lock().unwrap().last().unwrap().clone();
    assert_eq!((head.visitor.user.as_str(), head.visitor.family.as_str()), ("firm-jane.doe", "hop backup"));
    for _ in 0..200 {
        if practice.told.lock().unwrap().iter().any(|line| line.contains("\"finished\"")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = practice.told.lock().unwrap().clone();
    // After that: what was told stood there before.
    let journal = std::fs::read_dir(stage.door.path().join("state/journal")).unwrap();
    let text: String =
        journal.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok()).collect();
    assert!(told.iter().any(|line| line.contains("echo there")), "{told:#?}");
    assert!(told.iter().all(|line| text.contains(line.as_str())), "byte by byte as they stand there");

    practice.close().await;
    let refused = settles(&stage, 255).await;
    assert!(refused.stderr.contains("has not switched maintenance on"), "{refused:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_within_a_second_of_the_close_of_the_lease_and_of_the_link() {
    for sealed in ["inner = \"sealed\"", ""] {
        for how in ["close", "link", "lease"] {
            let stage = stage(sealed).await;
            let practice = linked(&stage).await;
            practice.allow(&[("firm", &[], 600)]).await;
            stage.door.wait_for("consent", 1).await;
            if how == "lease" {
                // The gateway is cut off from the practice's consent; what it has lasts three seconds.
                let mut allows = practice.allows.lock().unwrap();
                allows.lasts = 3;
            }
            if how == "lease" {
                practice.say(ToGateway::Changed).await;
                let seen = practice.nonces.lock().unwrap().len();
                while practice.nonces.lock().unwrap().len() <= seen {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            let mut ssh = stage.command("ssh");
            let mut command =
                ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
            if !sealed.is_empty() {
                let jane = std::fs::read_to_string(stage.door.path().join("jane.pub")).unwrap();
                stage.sshd.authorize(&jane);
                command = command.args(["-l", machine::LOGIN]);
            }
            command = command.args([HOST, "echo in; exec sleep 60"]);
            command = command.stdout(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            let mut first = [0; 3];
            tokio::io::AsyncReadExt::read_exact(&mut out, &mut first).await.unwrap();
            let begun = Instant::now();
            match how {
                "close" => practice.close().await,
                "link" => practice.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap(),
                _ => practice.allows.lock().unwrap().mute = true,
            }
            let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
            assert!(!status.success());
            let most = if how == "lease" { 4500 } else { 1500 };
            assert!(begun.elapsed() < Duration::from_millis(most), "{how} {sealed}: {:?}", begun.elapsed());
            stage.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_forged_replayed_or_anothers_opens_nothing_and_ends_the_link() {
    let stage = stage("").await;
    let gateway = ([127, 0, 0, 1], stage.door.port).into();
    let ours = fingerprint(stage.door.path());
    let allows = practice::Allows {
        grants: vec![("firm".into(), Vec::new(), 600)],
        lasts: 45,
        ..practice::Allows::default()
    };
    let mut old = String::new();
    for (n, how) in
        ["none", "replayed", "other-key", "other-site", "other-gateway", "unasked"].iter().enumerate()
    {
        let mut bare = practice::bare(gateway, SITE, 1).await;
        write_line(&mut bare.to, &practice::hello()).await.unwrap();
        let nonce = loop {
            if let pforte::link::frames::ToSite::Renew { nonce } = bare.lines.next().await.unwrap() {
                break nonce;
            }
        };
        let good = practice::lease(&allows, SITE, &ours, &nonce, 1);
        let signed = match *how {
            "none" => {
                old = nonce;
                continue;
            }
            "replayed" => practice::lease(&allows, SITE, &ours, &old, 1),
            "other-key" => practice::lease(&allows, SITE, &ours, &nonce, 2),
            "other-site" => practice::lease(&allows, "praxis-meier", &ours, &nonce, 1),
            "other-gateway" => {
                let other = key(9).public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
                practice::lease(&allows, SITE, &other, &nonce, 1)
            }
            _ => {
                let nobody = practice::Allows { lasts: 45, ..practice::Allows::default() };
                let empty = practice::lease(&nobody, SITE, &ours, &nonce, 1);
                write_line(&mut bare.to, &ToGateway::Lease(empty)).await.unwrap();
                good
            }
        };
        write_line(&mut bare.to, &ToGateway::Lease(signed)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), bare.mux.gone().cancelled()).await.unwrap();
        let refused = stage.door.wait_for("refused", n).await;
        let cause = refused.last().unwrap()["cause"].as_str().unwrap().to_owned();
        assert!(cause.starts_with("lease-"), "{how}: {cause}");
        assert!(stage.door.events("consent").is_empty());
    }
    let refused = stage.ssh(&["true"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_is_shown_at_the_site_and_its_answer_comes_back() {
    let stage = stage("").await;
    let none = stage.door.ssh(&["ask", SITE, "--why", "the backup fails"]).await;
    assert_eq!(none.code, 69, "{none:?}");
    let mut practice = linked(&stage).await;
    stage.door.wait_for("link", 1).await;
    for (allowed, code) in [(true, 0), (false, 77)] {
        let words = ["ask", SITE, "--why", "Sicherung läuft nicht", "--for", "45m"];
        let asking = stage.door.ssh(&words);
        let answering = async {
            let asked = practice.asks.recv().await.unwrap();
            assert_eq!(
                (asked.user.as_str(), asked.why.as_str(), asked.minutes),
                ("firm-jane.doe", "Sicherung läuft nicht", 45)
            );
            practice.say.send(ToGateway::Answer { id: "no such".into(), allowed: true }).await.unwrap();
            practice.say.send(ToGateway::Answer { id: asked.id, allowed }).await.unwrap();
        };
        let (asked, ()) = tokio::join!(asking, answering);
        assert_eq!(asked.code, code, "{asked:?}");
    }
    let nowhere = stage.door.ssh(&["ask", "praxis-meier", "--why", "let me in"]).await;
    assert_eq!(nowhere.code, 77, "{nowhere:?}");
    let empty = stage.door.ssh(&["ask", SITE, "--why", "''"]).await;
    assert_eq!(empty.code, 64, "{empty:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_and_why_say_how_it_stands_with_the_link() {
    let stage = stage("").await;
    let sites = stage.door.ssh(&["sites"]).await;
    assert!(sites.stdout.contains("not linked"), "{sites:?}");
    let why = stage.door.ssh(&["why", SITE, "hop", "backup"]).await;
    assert!(why.stdout.contains("no link"), "{why:?}");
    let practice = linked(&stage).await;
    stage.door.wait_for("link", 1).await;
    let sites = stage.door.ssh(&["sites"]).await;
    assert!(sites.stdout.contains("linked since") && sites.stdout.contains("closed"), "{sites:?}");
    practice.allow(&[("firm-jane.doe", &["hop backup"], 1200)]).await;
    stage.door.wait_for("consent", 1).await;
    settles(&stage, 0).await;
    let sites = stage.door.ssh(&["sites", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&sites.stdout).unwrap();
    assert_eq!(json[0]["link"]["open"][0]["who"], "firm-jane.doe", "{json:#}");
    assert_eq!(json[0]["link"]["open"][0]["may"][0], "hop backup");
    let why = stage.door.ssh(&["why", SITE]).await;
    assert!(
        why.stdout.contains("hop backup: yes") && why.stdout.contains("the customer consents"),
        "{why:?}"
    );
    assert!(why.stdout.contains("konnektor backup: The customer lets you in"), "{why:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_can_open_its_link_and_nothing_else() {
    let stage = stage("").await;
    let gateway = ([127, 0, 0, 1], stage.door.port).into();
    let site = format!("site:{SITE}");
    // Not with another key, not as another site, not as a person, and not by a technician's name.
    for (user, seed) in
        [(site.as_str(), 2), ("site:praxis-meier", 1), ("firm-jane.doe", 1), ("site:", 1), (SITE, 1)]
    {
        assert!(practice::ssh(gateway, user, seed, practice::IDENT).await.is_err(), "{user}");
    }
    // Among technicians a machine is nobody.
    assert!(practice::ssh(gateway, &site, 1, "SSH-2.0-OpenSSH_9.9").await.is_err());
    let handle = practice::ssh(gateway, &site, 1, practice::IDENT).await.unwrap();
    assert!(handle.channel_open_direct_tcpip(HOST, 22, "127.0.0.1", 1).await.is_err());
    assert!(handle.channel_open_direct_streamlocal("/run/x").await.is_err());
    assert!(handle.channel_open_x11("127.0.0.1", 1).await.is_err());
    let mut channel = handle.channel_open_session().await.unwrap();
    for n in 0..7 {
        match n {
            0 => channel.exec(true, "sites").await.unwrap(),
            1 => channel.request_shell(true).await.unwrap(),
            2 => channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap(),
            3 => channel.set_env(true, "LANG", "C").await.unwrap(),
            4 => channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap(),
            5 => channel.agent_forward(true).await.unwrap(),
            _ => channel.request_subsystem(true, "sftp").await.unwrap(),
        }
        assert!(matches!(channel.wait().await, Some(russh::ChannelMsg::Failure)), "{n}");
    }
    assert!(handle.channel_open_session().await.is_err(), "one channel");
    assert!(handle.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert!(handle.streamlocal_forward("/run/x").await.is_err());
    let refused = stage.door.events("refused");
    assert!(refused.iter().any(|line| line["cause"] == "unknown-key"), "{refused:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_away_ends_the_link_and_a_newer_link_takes_the_olders_place() {
    let stage = stage("").await;
    let first = linked(&stage).await;
    first.allow(&[("firm", &[], 600)]).await;
    settles(&stage, 0).await;
    let second = linked(&stage).await;
    stage.door.wait_for("link", 3).await;
    // The first one's consent went with it.
    let refused = stage.ssh(&["true"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    second.allow(&[("firm", &[], 600)]).await;
    settles(&stage, 0).await;
    std::fs::remove_file(stage.door.path().join(format!("keys/sites/{SITE}.pub"))).unwrap();
    stage.door.reload().await;
    stage.door.house.front().recheck();
    stage.door.wait_for("link", 4).await;
    let refused = stage.ssh(&["true"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("no link"), "{refused:?}");
    stage.close().await;
}
