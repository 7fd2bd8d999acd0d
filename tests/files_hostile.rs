//! Packets and paths that no good client sends: a status or the end of that channel, and never a file that is not in the tree.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::files;

use files::{Hand, READ, RULES, WRITE, asked, settled, sftp, text, with_backup, with_rules};

const INCOMING: &str = "/praxis-mueller/incoming";

#[tokio::test(flavor = "multi_thread")]
async fn r62_no_path_leads_anywhere_but_into_the_tree() {
    let (door, backup, _) = with_backup(with_rules(RULES)).await;
    std::fs::write(door.path().join("edited.json"), "{}").unwrap();
    for line in [
        "get /../../etc/passwd taken",
        "get ../../../../../../../../etc/passwd taken",
        "get /etc/passwd taken",
        &format!("get {backup}/../../../../etc/passwd taken"),
        &format!("get {INCOMING}/../../../etc/passwd taken"),
        "get /praxis-mueller/main/../../state/host_ed25519 taken",
        &format!("get {backup}.age taken"),
        &format!("put edited.json {backup}"),
        "put edited.json /praxis-mueller/main/2026-01-01-00-00.json",
        "put edited.json /praxis-mueller/edited.json",
        "put edited.json /edited.json",
        &format!("put edited.json {INCOMING}/../../../../tmp/pforte-was-here.json"),
        &format!("put edited.json {INCOMING}/.hidden.json"),
        &format!("put edited.json {INCOMING}/edited.txt"),
        &format!("ln -s /etc/passwd {INCOMING}/l.json"),
        &format!("ln {backup} {INCOMING}/l.json"),
        &format!("rename {backup} {INCOMING}/l.json"),
        &format!("mkdir {INCOMING}/x"),
        "rmdir /praxis-mueller/main",
        &format!("rm {backup}"),
        &format!("chmod 777 {backup}"),
        "ls /praxis-mueller/main/..../",
        "ls /state",
        "ls /praxis-nirgends",
    ] {
        let ran = sftp(&door, &[line]).await;
        assert_ne!(ran.code, 0, "{line}: {ran:?}");
        assert!(!door.path().join("taken").exists(), "{line}");
    }
    assert!(!std::path::Path::new("/tmp/pforte-was-here.json").exists());
    let mut hand = Hand::open(&door).await;
    let kept = hand.upload(&format!("{INCOMING}/mine.json"), b"{}").await;
    assert_eq!(kept.code(), 0);
    // Out of its folder, by both renames; and links, which there are none of.
    for to in [
        "/praxis-mueller/main/2026-01-01-00-00.json",
        "/mine.json",
        "/praxis-nirgends/incoming/mine.json",
        "/tmp/x",
    ] {
        let from = text(format!("{INCOMING}/mine.json"));
        assert!([2, 3, 4].contains(&hand.ask(18, &[&from, &text(to)]).await.code()), "{to}");
        let posix = hand.ask(200, &[&text("posix-rename@openssh.com"), &from, &text(to)]).await;
        assert!([2, 3, 4].contains(&posix.code()), "{to}");
    }
    assert_eq!(hand.ask(19, &[&text(format!("{INCOMING}/mine.json"))]).await.code(), 3, "readlink");
    for path in [
        &b"/praxis-mueller/main\0/x"[..],
        b"/\xff\xfe",
        b"/praxis-mueller/incoming/a\n.json",
        &b"/x".repeat(60_000),
    ] {
        assert_eq!(hand.open_file(path, READ).await.code(), 2);
        assert_eq!(hand.open_file(path, WRITE).await.code() & !6, 0, "2 or 4");
        assert_eq!(hand.ask(17, &[&text(path)]).await.code(), 2);
        assert_eq!(hand.ask(11, &[&text(path)]).await.code(), 2);
    }
    assert_eq!(hand.end().await, 0);
    settled(&door).await;
    let names: Vec<_> =
        files::everything_below(&door.path().join("state/vault")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names.len(), 4, "a backup, what jane handed in, and their sidecars: {names:#?}");
    let refused = asked(&door).into_iter().filter(|(event, _)| event == "refused").count();
    assert!(refused > 20, "{refused}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_none_end_their_channel_and_no_other() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    let mut good = Hand::open(&door).await;
    let handle = good.open_file(&backup, READ).await.handle();
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 3][..],
        &[0x00, 0x04, 0x00, 0x01, 3],
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 1, 5],
        // INIT once more.
        &[0, 0, 0, 5, 1, 0, 0, 0, 3],
    ] {
        let mut hand = Hand::open(&door).await;
        hand.raw(bytes).await;
        assert_eq!(hand.reply().await, None, "{bytes:?}");
        assert_eq!(hand.end().await, 1);
    }
    let mut early = Hand::begin(&door);
    early.send(11, &[&text("/")]).await;
    assert_eq!(early.reply().await, None, "a request before INIT");

    // What has a number gets an answer.
    for (kind, fields) in [(99, vec![]), (101, vec![]), (0, vec![]), (200, text("nobody@example"))] {
        assert_eq!(good.ask(kind, &[&fields]).await.code(), 8, "{kind}");
    }
    for kind in [3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16, 18] {
        assert_eq!(good.ask(kind, &[b"\xff\xff\xff\xff/x"]).await.code(), 5, "{kind}");
    }
    for odd in [&b""[..], b"\0", b"\0\0\0\x63", b"\xff\xff\xff\xff", &[7; 4096]] {
        let odd = text(odd);
        assert_eq!(good.close(&odd).await.code(), 4);
        assert_eq!(good.read(&odd, 0, 1).await.code(), 4);
        assert_eq!(good.ask(12, &[&odd]).await.code(), 4);
    }
    assert_eq!(good.read(&handle, u64::MAX, u32::MAX).await.code(), 1, "behind the end");
    assert_eq!(good.ask(12, &[&handle]).await.code(), 2, "a file is no folder");
    assert_eq!(good.write(&handle, 0, b"x").await.code(), 3);
    assert_eq!(
        good.read(&handle, 5, u32::MAX).await.data(),
        &shown.as_bytes()[5..shown.len().min(5 + (255 << 10))]
    );
    assert_eq!(good.end().await, 0);
    assert_eq!(door.house.front().panics.load(std::sync::atomic::Ordering::SeqCst), 0);
    settled(&door).await;
    let broken = door
        .events("refused")
        .into_iter()
        .filter(|line| line["cause"].as_str().unwrap_or_default().starts_with("sftp-broken"));
    assert_eq!(broken.count(), 6);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_opens_are_refused_few_are_written_down_and_the_channel_ends() {
    let (door, backup, _) = with_backup(with_rules(RULES)).await;
    let before = door.journal().len();
    let mut hand = Hand::open(&door).await;
    let mut ended = None;
    for n in 0..10_000 {
        let number = hand.send(3, &[&text(&backup), &READ.to_be_bytes(), &[0; 4]]).await;
        match hand.reply().await {
            Some(reply) if n < 4 => assert_eq!((reply.kind, reply.number), (102, number)),
            Some(reply) => assert_eq!(reply.code(), 4),
            None => {
                ended = Some(n);
                break;
            }
        }
    }
    let ended = ended.expect("it goes on for ever");
    assert!(ended < 1100, "{ended}");
    drop(hand);
    settled(&door).await;
    assert!(door.journal().len() - before < 200, "{}", door.journal().len() - before);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_too_large_or_half_is_not_kept_and_what_was_there_stays() {
    let (door, _, _) = with_backup(with_rules(RULES)).await;
    let path = format!("{INCOMING}/a.json");
    let mut hand = Hand::open(&door).await;
    assert_eq!(hand.upload(&path, b"{\"first\": true}").await.code(), 0);
    for (content, why) in [
        (&b"{\"half\": "[..], "This is not JSON (line 1, column 9)"),
        (b"", "This is not JSON"),
        (b"\xff\xfe{\0}\0", "This is not JSON"),
        (b"<xml/>", "This is not JSON"),
        (&[b'['; 5000], "This is not JSON"),
    ] {
        let refused = hand.upload(&path, content).await;
        assert_eq!(refused.code(), 4);
        assert!(
            refused.sentence().starts_with(why) && refused.sentence().ends_with("nothing was kept."),
            "{}",
            refused.sentence()
        );
    }
    let handle = hand.open_file(&path, WRITE).await.handle();
    let beyond = hand.write(&handle, (64 << 20) - 1, b"xx").await;
    assert!(beyond.code() == 4 && beyond.sentence().contains("64 MiB"), "{}", beyond.sentence());
    assert_eq!(hand.close(&handle).await.code(), 4, "not as a whole either");
    // A dropped connection keeps nothing of a half upload, though that is JSON.
    let handle = hand.open_file(&path, WRITE).await.handle();
    assert_eq!(hand.write(&handle, 0, b"{\"half\": 1}").await.code(), 0);
    let parts = hand.open_file(format!("{INCOMING}/b.json.filepart"), WRITE).await.handle();
    assert_eq!(hand.write(&parts, 0, b"{}").await.code(), 0);
    assert_eq!(hand.close(&parts).await.code(), 0);
    hand.child.kill().await.unwrap();
    drop(hand);
    settled(&door).await;

    let mut hand = Hand::open(&door).await;
    let handle = hand.open_file(&path, READ).await.handle();
    assert_eq!(hand.read(&handle, 0, 1000).await.data(), b"{\"first\": true}");
    let folder = hand.ask(11, &[&text(INCOMING)]).await.handle();
    let names = hand.ask(12, &[&folder]).await;
    assert_eq!(names.body[..4], 1u32.to_be_bytes(), "a.json and nothing else");
    hand.end().await;

    // Beside one another in pieces that come out of order, and at the end by appending.
    let mut hand = Hand::open(&door).await;
    let handle = hand.open_file(&path, WRITE).await.handle();
    for (offset, piece) in [(4, "5678]"), (0, "[123")] {
        assert_eq!(hand.write(&handle, offset, piece.as_bytes()).await.code(), 0);
    }
    assert_eq!(hand.close(&handle).await.code(), 0);
    let handle = hand.open_file(&path, 0x02 | 0x04).await.handle();
    assert_eq!(hand.write(&handle, 0, b"\n").await.code(), 0);
    assert_eq!(hand.close(&handle).await.code(), 0);
    let handle = hand.open_file(&path, READ).await.handle();
    assert_eq!(hand.read(&handle, 0, 1000).await.data(), b"[1235678]\n");
    // A rename that replaces nothing, and one that does.
    assert_eq!(hand.upload(&format!("{INCOMING}/c.json"), b"{}").await.code(), 0);
    let (from, to) = (text(format!("{INCOMING}/c.json")), text(&path));
    assert_eq!(hand.ask(18, &[&from, &to]).await.code(), 4);
    assert_eq!(hand.ask(200, &[&text("posix-rename@openssh.com"), &from, &to]).await.code(), 0);
    assert_eq!(hand.ask(17, &[&from]).await.code(), 2);
    assert_eq!(hand.end().await, 0);
    settled(&door).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_has_a_hundred_files_in_incoming_and_no_more() {
    let (door, _, _) = with_backup(with_rules(RULES)).await;
    let mut hand = Hand::open(&door).await;
    for n in 0..100 {
        assert_eq!(hand.upload(&format!("{INCOMING}/{n}.json"), b"{}").await.code(), 0);
    }
    let full = hand.open_file(format!("{INCOMING}/more.json"), WRITE).await;
    assert!(full.code() == 4 && full.sentence().contains("100 files"), "{}", full.sentence());
    assert_eq!(
        hand.upload(&format!("{INCOMING}/7.json"), b"[]").await.code(),
        0,
        "one that is there is replaced"
    );
    assert_eq!(hand.ask(13, &[&text(format!("{INCOMING}/8.json"))]).await.code(), 0);
    assert_eq!(hand.upload(&format!("{INCOMING}/more.json"), b"{}").await.code(), 0);
    assert_eq!(hand.end().await, 0);
    door.close().await;
}
