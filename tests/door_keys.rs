//! Which keys open the door, with the clients people use, and that every refusal looks and lasts like every other.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup, ran};
use serde_json::{Value, json};

const BOB: &str = "firm-bob.roe";

/// `options key` for a key file.
fn with(options: &str, line: &str) -> String {
    format!("{options} {line}")
}

fn in_as_jane(ran: &Ran) -> bool {
    ran.code == 0 && ran.stdout.contains("user: firm-jane.doe\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn ed25519_and_rsa_4096_get_in_with_openssh_plink_and_dbclient_by_one_push_each() {
    let door = Door::open(Setup::default()).await;
    let ed25519 = std::fs::read_to_string(door.path().join("jane.pub")).unwrap();
    door.register(JANE, &format!("{ed25519}{}", door.rsa_key(4096)));
    door.reload().await;
    for (n, key) in ["jane", "rsa-4096"].into_iter().enumerate() {
        let pushes = 3 * n as u64;
        let openssh = door.ssh_as(JANE, key, &[], &["whoami"]).await;
        assert!(in_as_jane(&openssh), "{openssh:?}");
        assert_eq!(door.phone.questions(), pushes + 1);
        let plink = door.plink(JANE, key, &[], &["whoami"]).await;
        assert!(in_as_jane(&plink), "{plink:?}");
        assert_eq!(door.phone.questions(), pushes + 2);
        let dbclient = door.dbclient(JANE, key, &[], &["whoami"]).await;
        assert_eq!(dbclient.code, 0, "{dbclient:?}");
        // dbclient prints keyboard-interactive's text on standard output, without its line end.
        assert!(dbclient.stdout.contains("user: firm-jane.doe\n"), "{dbclient:?}");
        assert_eq!(door.phone.questions(), pushes + 3);
    }
    let keys: Vec<String> = door.events("login").iter().map(|l| l["key"].to_string()).collect();
    assert_eq!(keys.len(), 6);
    assert!(keys[0] == keys[2] && keys[3] == keys[5] && keys[0] != keys[3], "{keys:?}");
    door.close().await;
}

/// All that a batch client can be, and how it ended.
async fn batch_clients(door: &Door) -> [Ran; 3] {
    let openssh = door.ssh_as(JANE, "jane", &["-o", "BatchMode=yes"], &["whoami"]).await;
    let plink = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    let paramiko = door.paramiko(JANE, "jane", "whoami", Value::Null).await;
    let paramiko = Ran {
        code: paramiko["code"].as_i64().and_then(|code| code.try_into().ok()).unwrap_or(-1),
        stdout: paramiko["stdout"].as_str().unwrap_or_default().into(),
        stderr: paramiko["error"].as_str().unwrap_or_default().into(),
    };
    [openssh, plink, paramiko]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_held_for_one_person_lets_batch_clients_in_by_one_push_each() {
    let more = "\n[users.\"firm-jane.doe\"]\nbatch = \"hold-key\"\n".into();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    for (n, ran) in batch_clients(&door).await.iter().enumerate() {
        assert!(in_as_jane(ran), "{n}: {ran:?}");
    }
    assert_eq!(door.phone.questions(), 3, "one push a login");
    assert_eq!(door.wait_for("login", 3).await.len(), 3);

    door.phone_does("deny");
    let refused = door.ssh_as(JANE, "jane", &["-o", "BatchMode=yes"], &["whoami"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    // russh answers the held request before it says good-bye, and OpenSSH does not stay to read why.
    assert!(refused.stderr.contains("Permission denied (publickey)"), "{refused:?}");
    assert_eq!(door.phone.questions(), 4, "a held key that is denied rings once");
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "factor-denied");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_held_by_a_rule_lets_batch_clients_in_by_one_push_each() {
    let rule = format!(
        "[[rule]]\nwho = [\"{JANE}\"]\nmay = [\"konnektor list\"]\non = [\"praxis-mueller\"]\nbatch = \"hold-key\"\n"
    );
    let door = Door::open(Setup { rules: Some(rule), ..Setup::default() }).await;
    for (n, ran) in batch_clients(&door).await.iter().enumerate() {
        assert!(in_as_jane(ran), "{n}: {ran:?}");
    }
    assert_eq!(door.phone.questions(), 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_held_key_batch_mode_rings_nobody() {
    let door = Door::open(Setup::default()).await;
    let refused = door.ssh_as(JANE, "jane", &["-o", "BatchMode=yes"], &["whoami"]).await;
    assert_eq!(refused.code, 255);
    assert!(refused.stderr.contains("Permission denied (keyboard-interactive)"), "{refused:?}");
    assert_eq!(door.phone.questions(), 0);
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "no-second-factor");
    // plink -batch answers a request without prompts.
    let plink = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    assert!(in_as_jane(&plink), "{plink:?}");
    assert_eq!(door.phone.questions(), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_break_the_policy_are_refused_at_load_with_file_line_and_reason() {
    let door = Door::open(Setup::default()).await;
    let ecdsa = door.keygen("ecdsa", &["-t", "ecdsa"]).await;
    let dir = door.path();
    for (line, reason) in [
        (door.rsa_key(2048), "RSA of 2048 bits"),
        (door.rsa_key(3072), "RSA of 3072 bits"),
        (door.rsa_key(8192), "RSA of 8192 bits"),
        (ecdsa, "ecdsa-sha2-nistp256 is not accepted"),
        (with("command=\"id\"", &door.make_key("command")), "\"command\" is not known here"),
        (with("from=\"praxis.example\"", &door.make_key("name")), "names are not looked up"),
        (with("expiry-time=\"soon\"", &door.make_key("soon")), "expected YYYYMMDD"),
        (std::fs::read_to_string(dir.join("jane.pub")).unwrap(), "one key belongs to one person"),
        ("ssh-ed25519 AAAA".into(), "no OpenSSH public key"),
    ] {
        door.register(BOB, &format!("# his\n{line}"));
        let problems = pforte::house::load(dir).err().unwrap_or_else(|| panic!("{line} was taken"));
        let text = problems.to_string();
        assert!(text.contains(&format!("keys/{BOB}.pub:2")) || reason.starts_with("one key"), "{text}");
        assert!(text.contains(reason), "{text}");
        assert!(door.house.reload().await.is_err(), "nor while it runs");
        assert!(in_as_jane(&door.ssh(&["whoami"]).await), "and the old state stays");
    }
    let refused = door.ssh_as(BOB, "command", &[], &["whoami"]).await;
    assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
    let told = door.events("loaded");
    assert!(
        told.iter().any(|l| l["cause"].as_str().unwrap().ends_with(&format!("keys/{BOB}.pub:2"))),
        "{told:#?}"
    );
    door.close().await;
}

/// A door with jane, bob, and keys of jane's that are no longer or not from here in force.
async fn door_of_refusals() -> Door {
    let door = Door::open(Setup::default()).await;
    let ed25519 = std::fs::read_to_string(door.path().join("jane.pub")).unwrap();
    let keys = [
        ed25519,
        with("expiry-time=\"20200101\"", &door.make_key("expired")),
        with("from=\"192.0.2.0/24\"", &door.make_key("elsewhere")),
        with("from=\"127.0.0.0/8,!127.0.0.1\"", &door.make_key("negated")),
        with("expiry-time=\"20990101\"", &door.make_key("valid")),
        with("from=\"192.0.2.7,127.0.0.*\"", &door.make_key("here")),
    ];
    door.register(JANE, &keys.join("\n"));
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.make_key("stranger");
    for bits in [2048, 3072, 4096, 8192] {
        door.rsa_key(bits);
    }
    door.keygen("ecdsa", &["-t", "ecdsa"]).await;
    door.reload().await;
    door
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_does_not_count_is_refused_in_the_same_words_and_journalled_with_its_cause() {
    let door = door_of_refusals().await;
    for key in ["jane", "valid", "here"] {
        let ran = door.ssh_as(JANE, key, &[], &["whoami"]).await;
        assert!(in_as_jane(&ran), "{key}: {ran:?}");
    }
    let pushes = door.phone.questions();
    let password = ["-o", "PreferredAuthentications=password"];
    let interactive = ["-o", "PreferredAuthentications=keyboard-interactive"];
    let cases: &[(&str, &str, &[&str], Option<&str>)] = &[
        (JANE, "stranger", &[], Some("unknown-key")),
        (JANE, "bob", &[], Some("unknown-key")),
        (JANE, "expired", &[], Some("key-expired")),
        (JANE, "elsewhere", &[], Some("key-source")),
        (JANE, "negated", &[], Some("key-source")),
        (JANE, "rsa-4096", &[], Some("unknown-key")),
        (JANE, "rsa-2048", &[], Some("key-policy")),
        (JANE, "rsa-3072", &[], Some("key-policy")),
        (JANE, "rsa-8192", &[], Some("key-policy")),
        ("firm-no.body", "jane", &[], Some("unknown-user")),
        ("firm-no.body", "stranger", &[], Some("unknown-user")),
        ("root", "jane", &[], Some("bad-name")),
        // OpenSSH sees that neither is offered, and goes with `none` alone: nothing was tried.
        (JANE, "jane", &password, None),
        (JANE, "jane", &interactive, None),
        ("firm-no.body", "jane", &password, None),
    ];
    let mut journalled = 0;
    for (user, key, options, cause) in cases {
        let ran = door.ssh_as(user, key, options, &["whoami"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (255, ""), "{user} {key}: {ran:?}");
        let words = ran.stderr.replace(user, "USER");
        assert_eq!(words, "USER@127.0.0.1: Permission denied (publickey).\r\n", "{user} {key}");
        if let Some(cause) = cause {
            journalled += 1;
            let line = door.wait_for("refused", journalled).await.pop().unwrap();
            assert_eq!(line["cause"], *cause, "{user} {key}: {line}");
            assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
            if *user == "root" {
                assert_eq!((&line["claimed"], &line["user"]), (&json!("root"), &Value::Null));
            } else {
                assert_eq!(line["user"], *user);
            }
        }
    }
    // The server's algorithms hold no ECDSA (RFC 8308), so OpenSSH does not even send it.
    let ecdsa = door.ssh_as(JANE, "ecdsa", &[], &["whoami"]).await;
    assert_eq!(ecdsa.code, 255, "{ecdsa:?}");
    let plink = door.plink(JANE, "stranger", &["-batch"], &["whoami"]).await;
    assert_ne!(plink.code, 0, "{plink:?}");
    let dbclient = door.dbclient(JANE, "stranger", &[], &["whoami"]).await;
    assert_ne!(dbclient.code, 0, "{dbclient:?}");
    assert_eq!(door.phone.questions(), pushes, "nobody's phone rang");
    assert_eq!(door.events("login").len(), 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_proven_by_its_own_signature_with_a_good_hash_and_by_nothing_else() {
    let door = door_of_refusals().await;
    let ed25519 = std::fs::read_to_string(door.path().join("jane.pub")).unwrap();
    door.register(JANE, &format!("{ed25519}{}", door.rsa_key(4096)));
    door.reload().await;
    let told = door
        .knock(json!([
            [["sign", JANE, "jane"], ["push", JANE], ["run", "whoami"]],
            [["sign", JANE, "rsa-4096", "rsa-sha2-256"], ["push", JANE], ["run", "whoami"]],
            // SHA-1.
            [["sign", JANE, "rsa-4096", "ssh-rsa"], ["interactive", JANE]],
            // Offered, and never signed.
            [["probe", JANE, "jane"], ["interactive", JANE]],
            // Jane's key shown, bob's signature.
            [["probe", JANE, "jane"], ["sign", JANE, "jane", null, "bob"], ["interactive", JANE]],
            // Jane's key shown, bob's own key signed.
            [["probe", JANE, "jane"], ["sign", JANE, "bob"], ["interactive", JANE]],
            [["sign", JANE, "ecdsa"], ["interactive", JANE]],
            // Its size is refused before its signature is looked at, so another key's will do, and takes no seconds.
            [["sign", JANE, "rsa-8192", null, "rsa-4096"], ["interactive", JANE]],
            [["interactive", JANE]],
            [["password", JANE, "x"], ["interactive", JANE]],
            [["none", JANE], ["interactive", JANE]],
        ]))
        .await;
    for allowed in &told[..2] {
        assert_eq!(allowed[0]["methods"], "keyboard-interactive", "{allowed:?}");
        assert_eq!(allowed[0]["partial"], true);
        assert_eq!(allowed[1]["reply"], "success", "{allowed:?}");
        assert!(allowed[2]["stdout"].as_str().unwrap().contains(JANE));
    }
    for (n, refused) in told.iter().enumerate().skip(2) {
        for reply in refused {
            if reply["reply"] == "worth signing" {
                continue;
            }
            assert_eq!(reply["reply"], "failure", "{n}: {refused:?}");
            assert_eq!((&reply["methods"], &reply["partial"]), (&json!("publickey"), &json!(false)), "{n}");
        }
    }
    assert_eq!(door.phone.questions(), 2, "nobody else's phone rang");
    assert_eq!(door.wait_for("refused", 9).await.len(), 9);

    // paramiko itself, told to sign with SHA-1.
    let sha1 = json!({ "pubkeys": ["rsa-sha2-512", "rsa-sha2-256"] });
    let told = door.paramiko(JANE, "rsa-4096", "whoami", sha1).await;
    assert!(told["error"].is_string(), "{told}");
    assert_eq!(door.phone.questions(), 2);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_does_not_count_is_refused_in_the_same_time() {
    let door = door_of_refusals().await;
    let warm = door.ssh(&["whoami"]).await;
    assert!(in_as_jane(&warm), "{warm:?}");
    let kinds = [
        ("firm-no.body", "stranger"),
        ("firm-no.body", "rsa-4096"),
        ("not a name", "stranger"),
        (JANE, "stranger"),
        (JANE, "bob"),
        (JANE, "expired"),
        (JANE, "elsewhere"),
        (JANE, "rsa-2048"),
        (JANE, "rsa-8192"),
    ];
    let tries = 7;
    // No signature of these is looked at, but its form has to fit.
    let signer = |key: &str| if key.starts_with("rsa") { "rsa-2048" } else { "stranger" };
    let attempts =
        |(user, key): &(&str, &str)| json!(vec![json!(["sign", user, key, null, signer(key)]); tries]);
    let connections: Vec<Value> = kinds.iter().map(attempts).collect();
    let probes = kinds.iter().map(|(user, key)| json!(vec![["probe", user, key]; tries]));
    let told = door.knock(connections.into_iter().chain(probes).collect()).await;
    let medians: Vec<u64> = told
        .iter()
        .map(|replies| {
            assert!(replies.iter().all(|r| r["reply"] == "failure"), "{replies:?}");
            let mut times: Vec<u64> = replies.iter().map(|r| r["ms"].as_u64().unwrap()).collect();
            times.sort_unstable();
            times[tries / 2]
        })
        .collect();
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*least >= 50, "{medians:?}");
    assert!(*most <= 3 * least, "{medians:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_technicians_is_nobody_and_is_only_quoted() {
    let door = Door::open(Setup::default()).await;
    let long = format!("firm-{}.doe", "j".repeat(291));
    let names = [
        "-oProxyCommand=id",
        "",
        &long,
        "firm-jäne.döe",
        "FIRM-JANE.DOE",
        "Firm-jane.doe",
        "root",
        "firm-jane.doe ",
        "firm-jane.doe\n",
        "firm-jane.doe\0",
        "firm-jane.doe@other",
        "../firm-jane.doe",
        "firm-jane",
        "jane.doe",
        "site:praxis-mueller",
        "firm-jane.doe\u{202e}",
        "firm-jаne.doe",
    ];
    let connections: Vec<Value> = std::iter::once(json!([["sign", JANE, "jane"], ["push", JANE]]))
        .chain(names.iter().map(|name| json!([["sign", name, "jane"], ["interactive", name]])))
        .collect();
    let told = door.knock(connections.into()).await;
    assert_eq!(told[0][1]["reply"], "success", "{:?}", told[0]);
    for (name, replies) in names.iter().zip(&told[1..]) {
        for reply in replies {
            assert_eq!(reply["reply"], "failure", "{name:?}: {reply}");
            assert_eq!(reply["methods"], "publickey", "{name:?}: {reply}");
        }
    }
    assert_eq!(door.phone.questions(), 1);
    let refused = door.wait_for("refused", names.len()).await;
    for name in names {
        let line = refused.iter().find(|line| {
            line["claimed"].as_str().is_some_and(|c| c == name || (name.len() > 200 && name.starts_with(c)))
        });
        let line = line.unwrap_or_else(|| panic!("{name:?} in {refused:#?}"));
        assert!(line.get("user").is_none(), "{line}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_ends_what_it_opened_within_a_second_and_nobody_elses() {
    let door = Door::open(Setup::default()).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    let work = async {
        let mut janes = door.ssh_command(JANE, "jane").args(["-N", "127.0.0.1"]).spawn().unwrap();
        let mut bobs = door.ssh_command(BOB, "bob").args(["-N", "127.0.0.1"]).spawn().unwrap();
        door.wait_for("login", 2).await;
        let since = Instant::now();
        std::fs::remove_file(door.path().join(format!("keys/{JANE}.pub"))).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), janes.wait()).await.unwrap().unwrap();
        let took = since.elapsed();
        assert_eq!(ended.code(), Some(255));
        assert!(took < Duration::from_secs(1), "{took:?}");
        let finished = door.wait_for("finished", 1).await;
        assert_eq!((&finished[0]["user"], &finished[0]["cause"]), (&json!(JANE), &json!("key-removed")));
        assert!(bobs.try_wait().unwrap().is_none(), "bob's connection goes on");
        let again = door.ssh(&["whoami"]).await;
        assert!(again.stderr.contains("Permission denied (publickey)"), "{again:?}");
        // And a key that is put back opens again.
        let line = std::fs::read_to_string(door.path().join("jane.pub")).unwrap();
        let loaded = door.events("loaded").len();
        door.register(JANE, &line);
        door.wait_for("loaded", loaded + 1).await;
        let back = door.ssh(&["whoami"]).await;
        assert!(in_as_jane(&back), "{back:?}");
        assert!(bobs.try_wait().unwrap().is_none());
        bobs.kill().await.unwrap();
    };
    tokio::select! {
        biased;
        () = door.house.follow(std::future::pending()) => {}
        () = work => {}
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_a_file_is_missed() {
    let door = Door::open(Setup::default()).await;
    let bobs = door.make_key("bob");
    let work = async {
        for n in 0..8 {
            let line = if n % 2 == 0 { bobs.as_str() } else { "# away for now" };
            door.register(BOB, line);
            let counts = async {
                let him = |keys: &pforte::identity::keys::KeyBook| {
                    keys.people().any(|(user, mut keys)| user.as_str() == BOB && keys.next().is_some())
                };
                while him(&door.house.front().keys.load()) != (n % 2 == 0) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), counts)
                .await
                .unwrap_or_else(|_| panic!("change {n}"));
            // Each change comes at another time of the half second in which keys are looked at anew.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    tokio::select! {
        biased;
        () = door.house.follow(std::future::pending()) => {}
        () = work => {}
    }
    door.close().await;
}

/// An agent of the system's, its socket at `DIR/agent`, with keys of `DIR`.
async fn agent(door: &Door, keys: &[String]) -> tokio::process::Child {
    let socket = door.path().join("agent");
    let mut agent = tokio::process::Command::new("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket).stdout(std::process::Stdio::null()).kill_on_drop(true);
    let agent = agent.spawn().unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut add = tokio::process::Command::new("ssh-add");
    add.env("SSH_AUTH_SOCK", &socket).arg("-q").args(keys).current_dir(door.path());
    let added = ran(add).await;
    assert_eq!(added.code, 0, "{added:?}");
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_twenty_keys_of_which_the_last_is_right_works_and_one_with_a_hundred_does_not() {
    let door = Door::open(Setup::default()).await;
    let mut keys: Vec<String> = (1..20).map(|n| format!("wrong-{n}")).collect();
    for key in &keys {
        door.make_key(key);
    }
    keys.push("jane".into());
    let twenty = agent(&door, &keys).await;
    let ssh = || async {
        let mut ssh = door.ssh_without_key(door.port, JANE);
        // No key files of whoever runs this test.
        ssh.args(["-o", "IdentityFile=none"]).env("SSH_AUTH_SOCK", door.path().join("agent"));
        ssh.args(["127.0.0.1", "whoami"]);
        ran(ssh).await
    };
    let allowed = ssh().await;
    assert!(in_as_jane(&allowed), "{allowed:?}");
    drop(twenty);
    std::fs::remove_file(door.path().join("agent")).ok();

    let mut keys: Vec<String> = (20..119).map(|n| format!("wrong-{n}")).collect();
    for key in &keys {
        door.make_key(key);
    }
    keys.push("jane".into());
    let _hundred = agent(&door, &keys).await;
    let refused = ssh().await;
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(refused.stderr.contains("too many keys"), "{refused:?}");
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "too-many-keys");
    assert_eq!(door.phone.questions(), 1);
    door.close().await;
}
