//! Facts and choices → the kit's files, by the templates of `contrib/`.
//! Absent on purpose: the disk. The same input gives the same bytes.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig};

use super::choices::Choices;
use super::facts::Facts;
use super::putty;
use super::registry::{self, Registry};
use super::view::View;

/// Paths below the kit's folder, and what stands there.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The only file that is run.
pub const PROGRAM: &str = "bssh";

/// A template and the data do not fit: a mistake of ours, not of who makes a kit.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// A template.
    #[error("a template of the kit: {0:#}")]
    Template(#[from] minijinja::Error),
    /// What a template made is no .reg file.
    #[error("putty-pforte.reg: {0}")]
    Registry(#[from] registry::Unreadable),
    /// A key has no text.
    #[error("a key: {0}")]
    Key(#[from] ssh_key::Error),
}

/// All files but `kit.json`.
pub fn files(facts: &Facts, choices: &Choices) -> Result<Files, Unwritten> {
    let view = minijinja::Value::from(minijinja::value::Serde(View::of(facts, choices)?));
    let env = environment();
    let made = |name: &str, template: &str| env.render_named_str(name, template, view.clone());
    let crlf = |text: String| text.replace('\n', "\r\n").into_bytes();
    let registry =
        Registry::parse(&made("putty-pforte.reg", include_str!("../../contrib/putty-pforte.reg"))?)?;
    let removal = registry.removal(|path| path.ends_with("\\SshHostKeys"));
    let german = made("LIESMICH.txt", include_str!("../../contrib/LIESMICH.txt"))?;
    let registry = registry.encode();
    // From the very bytes that Windows gets.
    let mut files: Files = putty::files(&Registry::decode(&registry)?)
        .into_iter()
        .map(|(path, text)| (format!("putty/{path}"), text.into_bytes()))
        .collect();
    for (name, template) in [
        ("ssh_config", include_str!("../../contrib/ssh_config")),
        ("known_hosts", include_str!("../../contrib/known_hosts")),
        (PROGRAM, include_str!("../../contrib/bssh")),
        ("README.txt", include_str!("../../contrib/README.txt")),
    ] {
        files.insert(name.to_owned(), made(name, template)?.into_bytes());
    }
    for (name, template) in [
        ("bssh.bat", include_str!("../../contrib/bssh.bat")),
        ("windows_ssh_config", include_str!("../../contrib/windows_ssh_config")),
        ("WinSCP.ini", include_str!("../../contrib/WinSCP.ini")),
    ] {
        files.insert(name.to_owned(), crlf(made(name, template)?));
    }
    // Without the mark, old editors of Windows take UTF-8 for something else.
    files.insert("LIESMICH.txt".to_owned(), crlf(format!("\u{feff}{german}")));
    files.insert("putty-pforte.reg".to_owned(), registry);
    files.insert("pforte-entfernen.reg".to_owned(), removal.encode());
    Ok(files)
}

/// One filter a syntax; a name that a template misspells is an error, not an empty text.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    if let Ok(syntax) =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
    {
        env.set_syntax(syntax);
    }
    env.add_filter("line", |text: String| text.replace(char::is_control, " "));
    env.add_filter("ssh", |text: String| text.replace('%', "%%"));
    env.add_filter("sh", |text: String| shell_word(&text));
    env.add_filter("reg", |text: String| registry::escaped(&text));
    env.add_filter("key", |text: String| registry::key_name(&text));
    env.add_filter("dword", |number: u32| format!("{number:08x}"));
    env.add_filter("percent", |text: String| percent(&text));
    env
}

/// `~/x` stays the home of whoever runs it. Quotes were refused before.
fn shell_word(text: &str) -> String {
    match text.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/'{rest}'"),
        None => format!("'{text}'"),
    }
}

/// As PuTTY's certificate expressions and WinSCP's values are kept.
fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
