//! The kit's files, read by the programs that will read them, or by a grammar of their own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod kit;

use std::os::unix::fs::PermissionsExt as _;

use kit::{DOMAIN, JANE, Workshop, bare, files_below};
use serde_json::Value;

const NAMES: &str = "\"gateway.firm.example:2222\", \"203.0.113.7\"";

/// A sealed backup machine with a pinned key, or without one.
fn seal(workshop: &Workshop, key: Option<&str>) {
    let pinned = key.map(|key| format!("host_key = \"{key}\"\n")).unwrap_or_default();
    workshop.change("policy/sites/praxis-mueller.toml", |text| {
        text.replace("\"10.0.0.2:22\"\n", &format!("\"10.0.0.2:22\"\ninner = \"sealed\"\n{pinned}"))
    });
}

/// What ssh makes of a configuration for a host: `key value` a line.
async fn read_by_ssh(workshop: &Workshop, file: &str, host: &str) -> Vec<String> {
    let told = workshop.tool("ssh", &["-G", "-F", file, host]).await;
    told.lines().map(str::to_owned).collect()
}

/// A `.reg` file by an independent grammar: key → (deleted, values).
async fn read_reg(workshop: &Workshop, file: &str) -> Vec<(String, bool, Vec<(String, Value)>)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kit/reg.py");
    serde_json::from_str(&workshop.tool("python3", &[script, file]).await).unwrap()
}

#[tokio::test]
async fn a_kit_has_these_files_and_no_secret() {
    let workshop = Workshop::new(NAMES);
    let made = workshop.kit(&[]).await;
    assert!(
        made.stdout.contains(&format!("It leads to backup.{DOMAIN}, portal.{DOMAIN}, {DOMAIN}.")),
        "{made:?}"
    );
    let expected = [
        "LIESMICH.txt",
        "README.txt",
        "WinSCP.ini",
        "bssh",
        "bssh.bat",
        "kit.json",
        "known_hosts",
        "pforte-entfernen.reg",
        "putty-pforte.reg",
        "putty/sessions/Fernwartung%20Gateway",
        "putty/sessions/Fernwartung%20praxis-mueller%20Backup",
        "putty/sessions/Fernwartung%20praxis-mueller%20Backup%20%28plink%29",
        "putty/sessions/Fernwartung%20praxis-mueller%20Portal",
        "putty/sessions/Fernwartung%20praxis-mueller%20Portal%20%28plink%29",
        "putty/sshhostcas/Fernwartung%20Gateway%20CA",
        "putty/sshhostkeys",
        "ssh_config",
        "windows_ssh_config",
    ];
    assert_eq!(files_below(&workshop.path("kit")), expected);
    for file in expected {
        let path = workshop.path(&format!("kit/{file}"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if file == "bssh" { 0o755 } else { 0o644 }, "{file}");
        let bytes = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"), "{file}");
        assert!(
            !bytes.windows(4).any(|w| w == b"{{ }" || w == b"}}\n\n"),
            "{file}: a template shows through"
        );
    }
}

#[tokio::test]
async fn ssh_reads_its_configuration_as_it_is_meant() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    let dir = workshop.0.path().display().to_string();
    for host in
        [format!("backup.{DOMAIN}"), format!("portal.{DOMAIN}"), DOMAIN.to_owned(), "gateway".to_owned()]
    {
        let read = read_by_ssh(&workshop, "kit/ssh_config", &host).await;
        let has = |line: &str| assert!(read.iter().any(|l| l == line), "{host}: {line}: {read:#?}");
        for line in [
            "user firm-jane.doe",
            "stricthostkeychecking true",
            "hashknownhosts no",
            "updatehostkeys false",
            "controlmaster auto",
            "serveraliveinterval 240",
            "forwardagent no",
            "forwardx11 no",
            "sendenv EMAIL",
            "sendenv LANG",
            "sendenv LC_*",
        ] {
            has(line);
        }
        has(&format!("identityfile {dir}/jane"));
        has(&format!("userknownhostsfile {dir}/kit/known_hosts"));
        let socket = read.iter().find_map(|l| l.strip_prefix("controlpath ")).unwrap();
        assert!(socket.starts_with(&format!("{dir}/pforte-")) && socket.len() + 17 < 104, "{socket}");
        let jump = read.iter().find(|l| l.starts_with("proxyjump "));
        if host == "gateway" {
            assert_eq!(jump, None);
            has("controlpersist 28800");
            has("hostname gateway.firm.example");
            has("port 2222");
        } else {
            assert_eq!(jump.map(String::as_str), Some("proxyjump gateway"), "{host}");
            // With it, ssh would hide what the gateway says.
            has("controlpersist no");
            has(&format!("hostname {host}"));
            has("port 22");
        }
    }
    // Another name goes nowhere by this configuration.
    let other = read_by_ssh(&workshop, "kit/ssh_config", "backup.other.example").await;
    assert!(!other.iter().any(|l| l.starts_with("proxyjump ") || l == "user firm-jane.doe"), "{other:#?}");

    let windows = read_by_ssh(&workshop, "kit/windows_ssh_config", &format!("backup.{DOMAIN}")).await;
    let has = |line: &str| windows.iter().any(|l| l == line);
    assert!(
        has("proxyjump gateway") && has("controlmaster false") && has("stricthostkeychecking true"),
        "{windows:#?}"
    );
}

#[tokio::test]
async fn ssh_keygen_finds_the_authority_and_the_key_under_every_name() {
    let workshop = Workshop::new(NAMES);
    let sealed = bare(&workshop.text("gateway/state/journal_ed25519.pub"));
    seal(&workshop, Some(&sealed));
    workshop.kit(&[]).await;
    let host_key = bare(&workshop.text("gateway/state/host_ed25519.pub"));
    let host_ca = bare(&workshop.text("gateway/state/host_ca.pub"));
    let backup = format!("backup.{DOMAIN}");
    for (name, by_authority, key) in [
        ("[gateway.firm.example]:2222", true, &host_key),
        ("203.0.113.7", true, &host_key),
        (&format!("portal.{DOMAIN}"), true, &host_key),
        (DOMAIN, true, &host_key),
        // Sealed: nobody but the host itself speaks for it, not even the gateway's authority.
        (&backup, false, &sealed),
    ] {
        let found = workshop.tool("ssh-keygen", &["-F", name, "-f", "kit/known_hosts"]).await;
        let vouched = found.lines().any(|l| l.starts_with("@cert-authority ") && l.ends_with(&host_ca));
        assert_eq!(vouched, by_authority, "{name}: {found}");
        let plain: Vec<String> = found
            .lines()
            .filter(|l| !l.starts_with(['#', '@']))
            .map(|l| l.split_once(' ').unwrap().1.to_owned())
            .collect();
        assert_eq!(plain, [key.clone()], "{name}: {found}");
    }
}

#[tokio::test]
async fn a_sealed_host_whose_key_nobody_wrote_down_is_told_of_and_not_vouched_for() {
    let workshop = Workshop::new(NAMES);
    seal(&workshop, None);
    let made = workshop.kit(&[]).await;
    assert!(
        made.stdout.contains(&format!("backup.{DOMAIN} is sealed and its site's file has no host_key")),
        "{made:?}"
    );
    assert!(!workshop.text("kit/known_hosts").contains(&format!("\nbackup.{DOMAIN}")));
    assert!(!workshop.text("kit/putty/sshhostkeys").contains("backup."));
    let ca = workshop.text("kit/putty/sshhostcas/Fernwartung%20Gateway%20CA");
    assert!(ca.contains(&format!("%26%26%20%21backup.{DOMAIN}%29")), "{ca}");
}

#[tokio::test]
async fn the_registry_file_holds_by_a_grammar_of_its_own_and_putty_for_linux_is_its_translation() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&["--ppk", "C:\\Users\\Jürgen Doe\\jane.ppk", "--email", "jane.doe@firm.example"]).await;
    let keys = read_reg(&workshop, "kit/putty-pforte.reg").await;
    let of = |name: &str| {
        let path = format!("HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\{name}");
        let found: Vec<_> = keys.iter().filter(|(key, gone, _)| *key == path && !gone).collect();
        assert_eq!(found.len(), 1, "{path}: {keys:#?}");
        found[0].2.clone()
    };
    let value = |session: &str, name: &str| {
        of(&format!("Sessions\\{session}")).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    };
    let backup = "Fernwartung%20praxis-mueller%20Backup";
    assert_eq!(value("Fernwartung%20Gateway", "HostName").unwrap(), "gateway.firm.example");
    assert_eq!(value("Fernwartung%20Gateway", "PortNumber").unwrap(), 2222);
    assert_eq!(value("Fernwartung%20Gateway", "ProxyMethod").unwrap(), 0);
    assert_eq!(value(backup, "HostName").unwrap(), format!("backup.{DOMAIN}"));
    assert_eq!(value(backup, "ProxyMethod").unwrap(), 6);
    assert_eq!(value(backup, "ProxyHost").unwrap(), "Fernwartung Gateway");
    let old = format!("{backup}%20(plink)");
    assert_eq!(value(&old, "ProxyMethod").unwrap(), 5);
    let command = "plink -batch -load \"Fernwartung Gateway\" -nc %host:%port";
    assert_eq!(value(&old, "ProxyTelnetCommand").unwrap(), command);
    for session in ["Fernwartung%20Gateway", backup, &old, "Fernwartung%20praxis-mueller%20Portal"] {
        // PortNumber is ignored without it.
        assert_eq!(value(session, "Protocol").unwrap(), "ssh");
        assert_eq!(value(session, "UserName").unwrap(), JANE);
        assert_eq!(value(session, "LineCodePage").unwrap(), "UTF-8");
        assert_eq!(
            (value(session, "AgentFwd").unwrap(), value(session, "SshProt").unwrap()),
            (0.into(), 3.into())
        );
        assert_eq!(value(session, "Environment").unwrap(), "EMAIL=jane.doe@firm.example");
        assert_eq!(value(session, "PublicKeyFile").unwrap(), "C:\\Users\\Jürgen Doe\\jane.ppk");
    }
    // Each value of each key stands in the Linux form too, and nothing else does.
    let mut linux = 0;
    for (key, _, values) in &keys {
        let place = key.rsplit_once("PuTTY\\").unwrap().1;
        let (file, between) = match place.split_once('\\') {
            None => ("sshhostkeys".to_owned(), ' '),
            Some((folder, name)) => {
                (format!("{}/{}", folder.to_lowercase(), name.replace('(', "%28").replace(')', "%29")), '=')
            }
        };
        let text = workshop.text(&format!("kit/putty/{file}"));
        let expected: Vec<String> = values
            .iter()
            .map(|(name, v)| {
                format!("{name}{between}{}", v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            })
            .collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{file}");
        linux += 1;
    }
    assert_eq!(files_below(&workshop.path("kit/putty")).len(), linux);
    let kind = workshop.tool("file", &["-b", "kit/putty-pforte.reg"]).await;
    assert!(kind.contains("Windows Registry"), "{kind}");
}

#[tokio::test]
async fn what_the_removal_deletes_is_what_the_other_file_makes_and_nothing_else() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    let made = read_reg(&workshop, "kit/putty-pforte.reg").await;
    let removed = read_reg(&workshop, "kit/pforte-entfernen.reg").await;
    assert_eq!(made.len(), removed.len());
    for ((key, _, values), (other, gone, taken)) in made.iter().zip(&removed) {
        assert_eq!(key, other);
        let shared = key.ends_with("\\SshHostKeys");
        assert_eq!(*gone, !shared, "{key}");
        let names: Vec<_> =
            values.iter().filter(|_| shared).map(|(name, _)| (name.clone(), Value::Null)).collect();
        assert_eq!(*taken, names, "{key}");
        assert!(
            !key.ends_with("\\Sessions") && !key.ends_with("\\PuTTY") && !key.ends_with("\\SshHostCAs"),
            "{key}"
        );
    }
}

/// PuTTY's own script for known_hosts files, which Debian ships.
#[tokio::test]
async fn host_key_numbers_are_those_of_puttys_own_kh2reg() {
    for _ in 0..8 {
        let workshop = Workshop::new(NAMES);
        workshop.kit(&[]).await;
        let known = workshop.text("kit/known_hosts");
        let plain: String =
            known.lines().filter(|l| !l.starts_with(['#', '@'])).fold(String::new(), |t, l| t + l + "\n");
        std::fs::write(workshop.path("plain"), plain).unwrap();
        let script = "/usr/share/doc/putty-tools/examples/kh2reg.py";
        let told = workshop.tool("python3", &[script, "--unix", "plain"]).await;
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let ours = sorted(&workshop.text("kit/putty/sshhostkeys"));
        assert_eq!(ours.len(), 5, "{ours:#?}");
        assert_eq!(ours, sorted(&told));
    }
}

#[tokio::test]
async fn what_people_read_is_in_their_language_and_their_editors_form() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    let german = workshop.text("kit/LIESMICH.txt");
    assert!(german.starts_with("\u{feff}Fernwartung über das Gateway gateway.firm.example"), "{german}");
    assert!(
        !german.replace("\r\n", "").contains(['\n', '\r']) && german.contains("Praxis Dr. Müller"),
        "{german}"
    );
    let english = workshop.text("kit/README.txt");
    assert!(english.contains("Praxis Dr. Müller") && !english.contains('\r'), "{english}");
    let key = workshop.tool("ssh-keygen", &["-lf", "gateway/state/host_ed25519.pub"]).await;
    let fingerprint = key.split(' ').nth(1).unwrap();
    assert!(german.contains(fingerprint) && english.contains(fingerprint));
    let batch = std::fs::read(workshop.path("kit/bssh.bat")).unwrap();
    assert!(
        batch.is_ascii()
            && String::from_utf8(batch.clone()).unwrap().replace("\r\n", "").find('\n').is_none()
    );
    let batch = String::from_utf8(batch).unwrap();
    assert!(batch.contains(&format!(
        "if /i \"!DOMAIN!\"==\"{DOMAIN}\" set \"SESSION=Fernwartung praxis-mueller Backup\""
    )));
    let winscp = workshop.text("kit/WinSCP.ini");
    for line in [
        "[Sessions\\Fernwartung%20praxis-mueller%20Backup]",
        "Tunnel=1",
        "TunnelHostName=gateway.firm.example",
        "TunnelPortNumber=2222",
        "Timeout=120",
        "AuthKIPassword=0",
    ] {
        assert!(winscp.contains(&format!("{line}\r\n")), "{line}: {winscp}");
    }
}

#[tokio::test]
async fn odd_titles_and_paths_stay_what_they_are_in_every_syntax() {
    let workshop = Workshop::new(NAMES);
    workshop.change("policy/sites/praxis-mueller.toml", |text| {
        text.replace(
            "\"Praxis Dr. Müller\"",
            "\"Praxis\\nHost *\\n    ProxyCommand evil {{ user }} {% raw %}\"",
        )
    });
    workshop.kit(&["--install-dir", "/opt/Praxis %d 100%/kit"]).await;
    let read = read_by_ssh(&workshop, "kit/ssh_config", &format!("backup.{DOMAIN}")).await;
    assert!(!read.iter().any(|l| l.contains("evil")), "{read:#?}");
    let known = read.iter().find(|l| l.starts_with("userknownhostsfile ")).unwrap();
    assert!(known.contains("/opt/Praxis %d 100%/kit/known_hosts"), "{known}");
    let bssh = workshop.tool("sh", &["kit/bssh", "--print-config"]).await;
    assert_eq!(bssh, "/opt/Praxis %d 100%/kit/ssh_config\n");
    for (option, value) in [
        ("--install-dir", "/a\"b"),
        ("--install-dir", "relative"),
        ("--identity", "/a\nHost *"),
        ("--control-dir", "/a/very/long/folder/for/sockets/that/would/not/fit"),
        ("--email", "jane,PATH=/"),
        ("--ppk", "C:\\a\"b"),
    ] {
        let refused =
            workshop.pforte(&["kit", JANE, "--out", "other", "--config", "gateway", option, value]).await;
        assert_eq!(refused.code, 64, "{option} {value}: {refused:?}");
        assert!(refused.stderr.starts_with(option), "{refused:?}");
        assert!(!workshop.path("other").exists(), "nothing is written");
    }
}
