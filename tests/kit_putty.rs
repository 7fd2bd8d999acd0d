//! The kit's registry file, by a grammar of its own; PuTTY for Linux, and PuTTY's own script, beside it.

use crate::kit;

use kit::{DOMAIN, JANE, Workshop, files_below};
use serde_json::Value;

const NAMES: &str = "\"gateway.firm.example:2222\", \"203.0.113.7\"";

/// A `.reg` file by an independent grammar: key → (deleted, values).
async fn read_reg(workshop: &Workshop, file: &str) -> Vec<(String, bool, Vec<(String, Value)>)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kit/reg.py");
    serde_json::from_str(&workshop.tool("python3", &[script, file]).await).unwrap()
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

/// PuTTY's own script for `known_hosts` files, which Debian ships.
#[tokio::test]
async fn host_key_numbers_are_those_of_puttys_own_kh2reg() {
    // Both signs, and numbers with leading zeros now and then.
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
