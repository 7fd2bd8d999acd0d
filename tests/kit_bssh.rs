//! bssh before a stand-in that writes down how ssh was called, and before shellcheck.
#![allow(clippy::disallowed_methods, reason = "tests run the script")]

use crate::kit;

use std::os::unix::fs::PermissionsExt as _;

use kit::{DOMAIN, Ran, Workshop, ran};
use tokio::process::Command;

/// A kit, and a folder of stand-ins before everything else on PATH.
struct Desk(Workshop);

/// What bssh did: how it ended, and each call of a stand-in, word by word.
struct Told {
    ran: Ran,
    calls: Vec<Vec<String>>,
}

impl Told {
    /// The last call, without the configuration that every call has.
    fn last(&self, desk: &Desk) -> Vec<&str> {
        let last = self.calls.last().unwrap_or_else(|| panic!("nothing was called: {:?}", self.ran));
        let config = desk.0.path("kit/ssh_config");
        assert_eq!(last[1..3], ["-F".to_owned(), config.display().to_string()], "{last:?}");
        std::iter::once(last[0].as_str()).chain(last[3..].iter().map(String::as_str)).collect()
    }
}

impl Desk {
    async fn new() -> Self {
        let workshop = Workshop::new("\"gateway.firm.example\"");
        workshop.kit(&[]).await;
        std::fs::create_dir(workshop.path("bin")).unwrap();
        for program in ["ssh", "sftp"] {
            let path = workshop.path(&format!("bin/{program}"));
            std::fs::write(&path, include_str!("kit/record.sh")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(workshop)
    }

    async fn bssh(&self, words: &[&str]) -> Told {
        self.bssh_with(&[], words).await
    }

    async fn bssh_with(&self, environment: &[(&str, &str)], words: &[&str]) -> Told {
        let record = self.0.path("record");
        std::fs::write(&record, "").unwrap();
        let mut bssh = Command::new(self.0.path("kit/bssh"));
        bssh.args(words)
            .env("PATH", format!("{}:{}", self.0.path("bin").display(), std::env::var("PATH").unwrap()))
            .env("RECORD", &record)
            .env_remove("LC_ALL")
            .env_remove("LC_MESSAGES")
            .env("LANG", "C")
            .envs(environment.iter().copied());
        let ran = ran(bssh).await;
        let text = std::fs::read_to_string(&record).unwrap();
        let calls = text.split_terminator("\0\n");
        let calls = calls.map(|call| call.split('\0').map(str::to_owned).collect()).collect();
        Told { ran, calls }
    }
}

const BACKUP: &str = "backup.praxis-mueller.example";

#[tokio::test]
async fn the_script_has_nothing_that_shellcheck_would_change() {
    let desk = Desk::new().await;
    desk.0
        .tool(
            "shellcheck",
            &["--shell=sh", "--enable=avoid-nullary-conditions,check-unassigned-uppercase", "kit/bssh"],
        )
        .await;
    assert!(!desk.0.text("kit/bssh").contains("eval"));
}

#[tokio::test]
async fn a_domain_becomes_its_backup_machine_and_the_command_stays_as_it_was_quoted() {
    let desk = Desk::new().await;
    let login = ["ssh", "-o", "User=firm-jane.doe", "--", BACKUP];
    for name in [DOMAIN, "firm-jane.doe@praxis-mueller.example", "Praxis-Mueller.Example", BACKUP] {
        assert_eq!(desk.bssh(&[name]).await.last(&desk), login, "{name}");
    }
    let portal = format!("portal.{DOMAIN}");
    assert_eq!(desk.bssh(&[&portal]).await.last(&desk), ["ssh", "-o", "User=firm-jane.doe", "--", &portal]);
    let odd = ["ls -l \"a  b\"", "it's", "$(reboot)", "`x`", "*", "", "a\nb", "-x", "--", "\\"];
    let told = desk.bssh(&[&[DOMAIN], &odd[..]].concat()).await;
    assert_eq!(told.last(&desk), [&login[..], &odd[..]].concat());
    let told = desk.bssh(&[&[DOMAIN, "--", "-v", "uptime"], &odd[..]].concat()).await;
    let expected = [&["ssh", "-o", "User=firm-jane.doe", "-v", "--", BACKUP, "uptime"], &odd[..]].concat();
    assert_eq!(told.last(&desk), expected);
}

#[tokio::test]
async fn options_of_ssh_keep_their_arguments() {
    let desk = Desk::new().await;
    let options = [
        "-tt",
        "-L",
        "8080:box:80",
        "-vp",
        "22",
        "-oConnectTimeout=5",
        "-o",
        "LogLevel=DEBUG",
        "-4N",
        "-D1080",
    ];
    let told = desk.bssh(&[&[DOMAIN, "--"], &options[..], &["true", "-v"]].concat()).await;
    let expected = [
        &["ssh", "-o", "User=firm-jane.doe", "-tt", "-L", "8080:box:80", "-vp", "22", "-oConnectTimeout=5"][..],
        &["-o", "LogLevel=DEBUG", "-4N", "-D1080", "--", BACKUP, "true", "-v"],
    ];
    // `-o X` and `-oX` are the same to ssh.
    let last: Vec<&str> = told.last(&desk);
    assert_eq!(last, expected.concat());
    let told = desk.bssh(&[DOMAIN, "--", "-v", "--", "-odd", "--"]).await;
    assert_eq!(told.last(&desk)[3..], ["-v", "--", BACKUP, "-odd", "--"]);
    for (own, what) in [("-Fother", "-F"), ("-F", "-F"), ("-J", "-J"), ("-lroot", "-l"), ("-vJx", "-J")] {
        let refused = desk.bssh(&[DOMAIN, "--", own, "x"]).await;
        assert_eq!(refused.ran.code, 64, "{own}");
        assert!(refused.ran.stderr.contains(what) && refused.calls.is_empty(), "{:?}", refused.ran);
    }
    let lacking = desk.bssh(&[DOMAIN, "--", "-i"]).await;
    assert!(lacking.ran.code == 64 && lacking.calls.is_empty(), "{:?}", lacking.ran);
}

#[tokio::test]
async fn another_key_or_user_reaches_both_hops_however_it_is_written() {
    let desk = Desk::new().await;
    let key = "/keys/my 100% key";
    let config = desk.0.path("kit/ssh_config").display().to_string();
    let attached = format!("-i{key}");
    let option = format!("-oIdentityFile={key}");
    let (longer, clustered) = (format!("IdentityFile={key}"), format!("-vi{key}"));
    let via = format!(
        "ProxyCommand=ssh -F '{config}' -o User=firm-jane.doe -i '/keys/my 100%% key' -W '[%h]:%p' gateway"
    );
    for words in [&["-i", key][..], &[&attached], &[&option], &["-o", &longer], &[&clustered], &["-vi", key]]
    {
        let told = desk.bssh(&[&[DOMAIN, "--"], words, &["uptime"]].concat()).await;
        let last = told.last(&desk);
        assert_eq!(last[..6], ["ssh", "-o", "User=firm-jane.doe", "-o", &via, "-i"], "{words:?}");
        assert_eq!(last[6], key, "{words:?}");
        assert_eq!(last[last.len() - 3..], ["--", BACKUP, "uptime"], "{words:?}");
    }
    let told = desk.bssh(&["firm-john.doe@praxis-mueller.example"]).await;
    let via = format!("ProxyCommand=ssh -F '{config}' -o User=firm-john.doe -W '[%h]:%p' gateway");
    assert_eq!(told.last(&desk), ["ssh", "-o", "User=firm-john.doe", "-o", &via, "--", BACKUP]);
    for odd in ["/keys/it's", "/keys/a\nb"] {
        let refused = desk.bssh(&[DOMAIN, "--", "-i", odd]).await;
        assert!(refused.ran.code == 64 && refused.ran.stderr.contains("no quote"), "{:?}", refused.ran);
        assert!(refused.calls.is_empty(), "{:?}", refused.calls);
    }
}

#[tokio::test]
async fn odd_names_and_domains_outside_of_the_kit_never_reach_ssh() {
    let desk = Desk::new().await;
    for name in [
        "",
        "-oProxyCommand=reboot",
        "-v",
        ".example",
        "a;reboot",
        "$(reboot)",
        "a b",
        "praxis-mueller.example\nx",
        "*",
        "prüfung.example",
        "@praxis-mueller.example",
        "-x@praxis-mueller.example",
        "a$b@praxis-mueller.example",
        "a@b@praxis-mueller.example",
        "../praxis-mueller.example",
        // Without a Host block, ssh would go there past the gateway.
        "other.example",
        "mueller.example",
        "example",
        "backup.other.example",
    ] {
        for words in [&[name][..], &["--sftp", name], &["-O", "exit", name]] {
            // `-O exit ""` and the like have an empty word as their domain.
            let told = desk.bssh(words).await;
            assert_eq!(told.ran.code, 64, "{words:?}: {:?}", told.ran);
            assert!(told.calls.is_empty(), "{words:?}: {:?}", told.calls);
            assert!(told.ran.stderr.starts_with("bssh"), "{words:?}: {:?}", told.ran);
        }
    }
    let none = desk.bssh(&[]).await;
    assert!(none.ran.code == 64 && none.ran.stderr.contains("DOMAIN"), "{:?}", none.ran);
    let help = desk.bssh(&["--help"]).await;
    assert!(help.ran.code == 0 && help.ran.stdout.contains("--sftp"), "{:?}", help.ran);
}

#[tokio::test]
async fn the_shared_connection_can_be_asked_after_and_ended() {
    let desk = Desk::new().await;
    let told = desk.bssh_with(&[("CODE", "3")], &["-O", "exit"]).await;
    assert_eq!((told.ran.code, told.last(&desk)), (3, vec!["ssh", "-O", "exit", "--", "gateway"]));
    let told = desk.bssh_with(&[("MASTER", "0")], &["-O", "check", DOMAIN]).await;
    let words = vec!["ssh", "-O", "check", "-l", "firm-jane.doe", "--", BACKUP];
    assert_eq!((told.ran.code, told.last(&desk)), (0, words));
    let odd = desk.bssh(&["-O", "forward", DOMAIN]).await;
    assert!(odd.ran.code == 64 && odd.calls.is_empty(), "{:?}", odd.ran);
}

#[tokio::test]
async fn who_has_to_wait_is_told_and_the_exit_code_is_sshs_own() {
    let desk = Desk::new().await;
    let waiting = desk.bssh_with(&[("CODE", "77")], &[DOMAIN, "false"]).await;
    assert_eq!(waiting.ran.code, 77);
    assert!(waiting.ran.stderr.contains("confirm on your phone"), "{:?}", waiting.ran);
    let german = desk.bssh_with(&[("LANG", "de_DE.UTF-8")], &[DOMAIN]).await;
    assert!(german.ran.stderr.contains("am Telefon bestätigen"), "{:?}", german.ran);
    let shared = desk.bssh_with(&[("MASTER", "0")], &[DOMAIN]).await;
    assert_eq!((shared.ran.stderr.as_str(), shared.ran.stdout.as_str()), ("", ""));
    let sftp = desk.bssh_with(&[("MASTER", "0")], &["--sftp", DOMAIN, "--", "-b", "-"]).await;
    assert_eq!(sftp.last(&desk), ["sftp", "-o", "User=firm-jane.doe", "-b", "-", "--", BACKUP]);
}

#[tokio::test]
async fn sockets_are_kept_where_nobody_else_can_put_theirs() {
    let desk = Desk::new().await;
    let sockets = desk.0.path("sockets");
    desk.0.kit(&[]).await;
    let script = desk.0.text("kit/bssh");
    let dir = desk.0.0.path().display().to_string();
    assert!(script.contains(&format!("control='{dir}'\n")), "{script}");
    std::fs::write(
        desk.0.path("kit/bssh"),
        script.replace(&format!("control='{dir}'\n"), &format!("control='{}'\n", sockets.display())),
    )
    .unwrap();
    assert_eq!(desk.bssh(&[DOMAIN]).await.ran.code, 0);
    assert_eq!(std::fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700);
    let long = desk.0.path("a-folder-too-long-for-sockets").display().to_string();
    assert!(long.len() > 38);
    let fitting = desk.0.text("kit/bssh");
    let changed = fitting.replace(&sockets.display().to_string(), &long);
    std::fs::write(desk.0.path("kit/bssh"), changed).unwrap();
    let refused = desk.bssh(&[DOMAIN]).await;
    assert!(refused.ran.code == 64 && refused.ran.stderr.contains("--control-dir"), "{:?}", refused.ran);
    std::fs::write(desk.0.path("kit/bssh"), fitting).unwrap();
    for mode in [0o777, 0o770, 0o1777] {
        std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = desk.bssh(&[DOMAIN]).await;
        assert!(refused.ran.code == 64 && refused.ran.stderr.contains("yours alone"), "{:?}", refused.ran);
        assert!(refused.calls.is_empty(), "{:?}", refused.calls);
    }
}
