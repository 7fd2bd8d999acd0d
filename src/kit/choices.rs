//! What whoever makes a kit may choose: paths and an address, checked for every syntax that they are written into.

use serde::{Deserialize, Serialize};

/// Longer folders leave no room in a socket's path: 104 bytes on macOS, less `/pforte-`, 40 of `%C`, 17 of ssh's own.
const CONTROL_DIR: usize = 38;

/// The choices, as they stand in `kit.json` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Where the kit will lie: absolute, or from `~/` on.
    pub dir: String,
    /// The technician's private key.
    pub identity: String,
    /// Where ssh keeps the sockets of shared connections.
    pub control_dir: String,
    /// The technician's key for PuTTY and WinSCP; without it Pageant is asked.
    pub ppk: Option<String>,
    /// Sent as EMAIL, by which targets tell people apart.
    pub email: Option<String>,
}

/// Which choice cannot be written down, and what it may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unwritable(String);

impl Choices {
    /// Each in its form.
    pub fn check(&self) -> Result<(), Unwritable> {
        for (what, path) in
            [("install-dir", &self.dir), ("identity", &self.identity), ("control-dir", &self.control_dir)]
        {
            unix_path(what, path)?;
        }
        if self.control_dir.len() > CONTROL_DIR {
            let why = format!("--control-dir: at most {CONTROL_DIR} bytes, as a socket's path is short");
            return Err(Unwritable(why));
        }
        if let Some(ppk) = &self.ppk {
            let odd = |c: char| c.is_control() || matches!(c, '"' | '*' | '?' | '<' | '>' | '|');
            if ppk.is_empty() || ppk.contains(odd) {
                return Err(Unwritable("--ppk: a path without quotes and control characters".into()));
            }
        }
        match &self.email {
            Some(email) if !is_email(email) => {
                Err(Unwritable("--email: expected an address such as jane.doe@firm.example".into()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Absolute or from `~/` on, without what a shell, ssh or a quote would interpret.
fn unix_path(what: &str, path: &str) -> Result<(), Unwritable> {
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '$' | '`');
    if !(path.starts_with('/') || path.starts_with("~/")) || path.contains(odd) {
        let form = "a path from / or ~/ on, without quotes, backslashes, $ and control characters";
        return Err(Unwritable(format!("--{what}: expected {form}")));
    }
    Ok(())
}

/// Less than RFC 5321 allows: nothing that an environment, a registry or a list would interpret.
fn is_email(text: &str) -> bool {
    let plain = |part: &str, more: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    text.len() <= 254
        && text.split_once('@').is_some_and(|(name, host)| plain(name, "._+-") && plain(host, ".-"))
        && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        Choices {
            dir: "/home/jane/kit".into(),
            identity: "~/.ssh/id_ed25519".into(),
            control_dir: "~/.ssh".into(),
            ppk: Some("C:\\Users\\Jürgen\\jane.ppk".into()),
            email: Some("jane.doe+x@firm.example".into()),
        }
    }

    #[test]
    fn what_a_syntax_would_interpret_is_refused() {
        assert_eq!(choices().check(), Ok(()));
        for path in
            ["kit", "", "/a\nHost *", "/a\"b", "/a'b", "/a\\b", "/a${HOME}", "/a`b`", "~jane/kit", "/a\u{7f}"]
        {
            let wrong = [
                Choices { dir: path.into(), ..choices() },
                Choices { identity: path.into(), ..choices() },
                Choices { control_dir: path.into(), ..choices() },
            ];
            assert!(wrong.iter().all(|choices| choices.check().is_err()), "{path:?}");
        }
        for email in ["jane", "@b", "a@", "a@b,X=1", "a@b c", "a@b\n", "a\"@b", "a@b@c", "-a@b", "ä@b"] {
            assert!(Choices { email: Some(email.into()), ..choices() }.check().is_err(), "{email:?}");
        }
        for ppk in ["", "C:\\a\"b", "C:\\a\r\nb"] {
            assert!(Choices { ppk: Some(ppk.into()), ..choices() }.check().is_err(), "{ppk:?}");
        }
    }

    #[test]
    fn a_socket_would_fit_into_the_longest_folder_that_is_taken() {
        let of = |n: usize| Choices { control_dir: format!("/{}", "a".repeat(n - 1)), ..choices() }.check();
        assert_eq!(of(CONTROL_DIR), Ok(()));
        assert!(CONTROL_DIR + "/pforte-".len() + 40 + 17 < 104);
        assert!(of(CONTROL_DIR + 1).is_err());
    }
}
