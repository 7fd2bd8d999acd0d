//! Who may import whom: lower never imports higher. The table of src/lib.rs, held.

use std::collections::BTreeMap;
use std::path::Path;

/// Each module and what it may use of the others; its own inside is free.
const MAY_USE: &[(&str, &[&str])] = &[
    ("names", &[]),
    ("clock", &[]),
    ("random", &[]),
    ("secret", &[]),
    ("template", &["secret"]),
    ("prompt", &[]),
    ("flow", &[]),
    ("service", &[]),
    ("owner", &[]),
    ("live", &["names"]),
    ("transfers", &[]),
    ("asks", &["names"]),
    ("config", &["names", "owner", "secret", "template"]),
    ("state", &["names", "clock", "random", "secret", "config"]),
    ("factor", &["names", "owner", "clock", "random", "secret", "template"]),
    ("link", &["names"]),
    ("grants", &["names", "link"]),
    ("authority", &["names", "random"]),
    ("vault", &["names", "owner"]),
    ("identity", &["names", "clock", "random", "secret", "asks", "config", "factor", "state"]),
    ("policy", &["names", "asks", "config", "grants", "identity"]),
    ("journal", &["names", "clock", "asks", "identity", "policy"]),
    ("recording", &["names", "clock"]),
    ("konnektor", &["names", "clock", "secret"]),
    ("notify", &["names", "clock", "config", "factor", "journal"]),
    ("gate", &["names", "clock", "asks", "config", "grants", "identity", "policy", "journal"]),
    (
        "uplink",
        &["names", "clock", "random", "prompt", "flow", "link", "grants", "identity", "journal", "konnektor"],
    ),
    ("sentences", &["names", "asks", "config", "factor", "grants", "identity", "policy", "gate"]),
    (
        "commands",
        &[
            "names",
            "clock",
            "prompt",
            "random",
            "grants",
            "link",
            "uplink",
            "asks",
            "config",
            "state",
            "identity",
            "gate",
            "journal",
            "konnektor",
            "vault",
            "sentences",
        ],
    ),
    ("schedule", &["names", "config", "policy", "journal", "notify", "gate", "state", "commands"]),
    ("hops", &["names", "asks", "config", "flow", "link", "live", "journal", "uplink"]),
    (
        "relay",
        &[
            "names",
            "clock",
            "secret",
            "asks",
            "config",
            "factor",
            "identity",
            "journal",
            "gate",
            "sentences",
            "commands",
            "flow",
            "live",
            "hops",
            "recording",
            "transfers",
        ],
    ),
    (
        "front",
        &[
            "names",
            "clock",
            "random",
            "secret",
            "asks",
            "config",
            "factor",
            "identity",
            "policy",
            "journal",
            "gate",
            "commands",
            "authority",
            "uplink",
            "hops",
            "relay",
            "flow",
            "live",
            "sentences",
            "state",
            "prompt",
        ],
    ),
    (
        "site",
        &[
            "names",
            "clock",
            "random",
            "secret",
            "template",
            "service",
            "owner",
            "config",
            "konnektor",
            "link",
            "vault",
        ],
    ),
    ("control", &["names", "clock", "secret", "config", "identity", "journal", "sentences", "live", "front"]),
];

/// Builds or asks for everything.
const TOP: &[&str] =
    &["lib", "main", "house", "demo", "init", "check", "ledger", "play", "kit", "sessions", "direct"];

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module of a file: the first part of its path below src.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Every `crate::x` outside of comments and of tests.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect()
}

#[test]
fn lower_never_imports_higher() {
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let mut wrong = Vec::new();
    for path in found {
        let module = module(&path);
        if TOP.contains(&module.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        let Some(allowed) = may.get(module.as_str()) else {
            wrong.push(format!("{module} has no line in the table"));
            continue;
        };
        for used in uses(&std::fs::read_to_string(&path).unwrap()) {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_in_order_of_height() {
    for (i, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let height = MAY_USE.iter().position(|(name, _)| name == used);
            assert!(height.is_some_and(|h| h < i), "{module} may use {used}, which is not below it");
        }
    }
}
