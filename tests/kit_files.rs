//! The kit's files, read by the programs that will read them, or by a grammar of their own.

use crate::kit;

use std::os::unix::fs::PermissionsExt as _;

use kit::{DOMAIN, JANE, Workshop, bare, files_below};

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
        let rights = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights, if file == "bssh" { 0o755 } else { 0o644 }, "{file}");
        let bytes = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"), "{file}");
        let text = String::from_utf8_lossy(&bytes).replace('\0', "");
        assert!(!["{{", "{%", "{#"].iter().any(|sign| text.contains(sign)), "{file}: {text}");
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
        assert_eq!(plain, std::slice::from_ref(key), "{name}: {found}");
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
