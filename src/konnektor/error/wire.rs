//! An error as it goes over a site's link, and back: its cause by name, with its fields.
//! Absent on purpose: trust in what comes back. Texts are cut and cleaned; what is not known is [`Error::SiteUnclear`].

use serde_json::{Value, json};

use super::Error;

/// The longest text of an error, in characters; ours are shorter.
const LONGEST: usize = 400;

impl Error {
    /// For the link; free of secrets, as [`Error`] is.
    #[must_use]
    pub fn to_wire(&self) -> Value {
        let bare = |is: &str| json!({ "is": is });
        match self {
            Self::Away => bare("away"),
            Self::TlsFailed => bare("tls-failed"),
            Self::CertificateChanged { pinned, presented } => json!({
                "is": "certificate-changed", "pinned": pinned.to_string(), "presented": presented.to_string(),
            }),
            Self::CertificateUnknown { presented } => {
                json!({ "is": "certificate-unknown", "presented": presented.to_string() })
            }
            Self::LoginFailed => bare("login-failed"),
            Self::PasswordChangeForced => bare("password-change-forced"),
            Self::NoToken => bare("no-token"),
            Self::SessionExpired => bare("session-expired"),
            Self::NotAllowed { status } => json!({ "is": "not-allowed", "status": status }),
            Self::Http { status, what } => json!({ "is": "http", "status": status, "what": what }),
            Self::NotHttp => bare("not-http"),
            Self::NotJson { service } => json!({ "is": "not-json", "service": service }),
            Self::Inexact { service } => json!({ "is": "inexact", "service": service }),
            Self::TooLarge { limit } => json!({ "is": "too-large", "limit": limit }),
            Self::TooDeep { limit } => json!({ "is": "too-deep", "limit": limit }),
            Self::TooManyHeaders => bare("too-many-headers"),
            Self::TooManyRedirects => bare("too-many-redirects"),
            Self::RedirectElsewhere => bare("redirect-elsewhere"),
            Self::Encoded => bare("encoded"),
            Self::Dropped => bare("dropped"),
            Self::TimedOut => bare("timed-out"),
            Self::BadDirectory => bare("bad-directory"),
            Self::UnknownProduct => bare("unknown-product"),
            Self::UnknownService { service } => json!({ "is": "unknown-service", "service": service }),
            Self::NotInProfile { key } => json!({ "is": "not-in-profile", "key": key }),
            Self::ReadOnly { service } => json!({ "is": "read-only", "service": service }),
            Self::UnknownAction { action } => json!({ "is": "unknown-action", "action": action.as_str() }),
            Self::BadData { action, what } => {
                json!({ "is": "bad-data", "action": action.as_str(), "what": what })
            }
            Self::BadProfile { what } => json!({ "is": "bad-profile", "what": what }),
            Self::Setup => bare("client-setup"),
            Self::SiteRefused { cause } => json!({ "is": "site-refused", "cause": cause }),
            Self::SiteUnclear => bare("site-unclear"),
        }
    }

    /// What came over the link.
    #[must_use]
    pub fn from_wire(wire: &Value) -> Self {
        Self::known(wire).unwrap_or(Self::SiteUnclear)
    }

    fn known(wire: &Value) -> Option<Self> {
        let text = |name: &str| wire.get(name)?.as_str().map(cleaned);
        let number = |name: &str| wire.get(name)?.as_u64();
        let status = || u16::try_from(number("status")?).ok();
        let limit = || usize::try_from(number("limit")?).ok();
        let service = || text("service")?.parse().ok();
        let action = || text("action")?.parse().ok();
        let pin = |name: &str| text(name)?.parse().ok();
        Some(match wire.get("is")?.as_str()? {
            "away" => Self::Away,
            "tls-failed" => Self::TlsFailed,
            "certificate-changed" => {
                Self::CertificateChanged { pinned: pin("pinned")?, presented: pin("presented")? }
            }
            "certificate-unknown" => Self::CertificateUnknown { presented: pin("presented")? },
            "login-failed" => Self::LoginFailed,
            "password-change-forced" => Self::PasswordChangeForced,
            "no-token" => Self::NoToken,
            "session-expired" => Self::SessionExpired,
            "not-allowed" => Self::NotAllowed { status: status()? },
            "http" => Self::Http { status: status()?, what: text("what")? },
            "not-http" => Self::NotHttp,
            "not-json" => Self::NotJson { service: service()? },
            "inexact" => Self::Inexact { service: service()? },
            "too-large" => Self::TooLarge { limit: limit()? },
            "too-deep" => Self::TooDeep { limit: limit()? },
            "too-many-headers" => Self::TooManyHeaders,
            "too-many-redirects" => Self::TooManyRedirects,
            "redirect-elsewhere" => Self::RedirectElsewhere,
            "encoded" => Self::Encoded,
            "dropped" => Self::Dropped,
            "timed-out" => Self::TimedOut,
            "bad-directory" => Self::BadDirectory,
            "unknown-product" => Self::UnknownProduct,
            "unknown-service" => Self::UnknownService { service: service()? },
            "not-in-profile" => Self::NotInProfile { key: text("key")? },
            "read-only" => Self::ReadOnly { service: service()? },
            "unknown-action" => Self::UnknownAction { action: action()? },
            "bad-data" => Self::BadData { action: action()?, what: text("what")? },
            "bad-profile" => Self::BadProfile { what: text("what")? },
            "client-setup" => Self::Setup,
            "site-refused" => Self::SiteRefused { cause: text("cause")? },
            _ => return None,
        })
    }
}

/// A text that a site sent, fit for a terminal and a line of the journal: no control characters, none that turn the
/// direction of writing, and not for ever.
pub(crate) fn cleaned(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnektor::CertificatePin;

    /// One of each variant in turn: a new one that is forgotten here does not compile.
    fn after(error: &Error) -> Option<Error> {
        let service = || "ntpservice".parse().unwrap();
        let action = || "reboot".parse().unwrap();
        Some(match error {
            Error::Away => Error::TlsFailed,
            Error::TlsFailed => Error::CertificateChanged {
                pinned: CertificatePin::of(b"a"),
                presented: CertificatePin::of(b"b"),
            },
            Error::CertificateChanged { .. } => {
                Error::CertificateUnknown { presented: CertificatePin::of(b"c") }
            }
            Error::CertificateUnknown { .. } => Error::LoginFailed,
            Error::LoginFailed => Error::PasswordChangeForced,
            Error::PasswordChangeForced => Error::NoToken,
            Error::NoToken => Error::SessionExpired,
            Error::SessionExpired => Error::NotAllowed { status: 403 },
            Error::NotAllowed { .. } => Error::Http { status: 500, what: "ntpservice".into() },
            Error::Http { .. } => Error::NotHttp,
            Error::NotHttp => Error::NotJson { service: service() },
            Error::NotJson { .. } => Error::Inexact { service: service() },
            Error::Inexact { .. } => Error::TooLarge { limit: 64 << 20 },
            Error::TooLarge { .. } => Error::TooDeep { limit: 120 },
            Error::TooDeep { .. } => Error::TooManyHeaders,
            Error::TooManyHeaders => Error::TooManyRedirects,
            Error::TooManyRedirects => Error::RedirectElsewhere,
            Error::RedirectElsewhere => Error::Encoded,
            Error::Encoded => Error::Dropped,
            Error::Dropped => Error::TimedOut,
            Error::TimedOut => Error::BadDirectory,
            Error::BadDirectory => Error::UnknownProduct,
            Error::UnknownProduct => Error::UnknownService { service: service() },
            Error::UnknownService { .. } => Error::NotInProfile { key: "write.path".into() },
            Error::NotInProfile { .. } => Error::ReadOnly { service: service() },
            Error::ReadOnly { .. } => Error::UnknownAction { action: action() },
            Error::UnknownAction { .. } => {
                Error::BadData { action: action(), what: "/id: \"a\" ü\\".into() }
            }
            Error::BadData { .. } => Error::BadProfile { what: "3:4: expected `]`".into() },
            Error::BadProfile { .. } => Error::Setup,
            Error::Setup => Error::SiteRefused { cause: "switch-closed".into() },
            Error::SiteRefused { .. } => Error::SiteUnclear,
            Error::SiteUnclear => return None,
        })
    }

    #[test]
    fn every_error_comes_back_equal_and_as_one_short_line() {
        let (mut error, mut seen) = (Error::Away, std::collections::BTreeSet::new());
        loop {
            let wire = error.to_wire();
            let text = serde_json::to_string(&wire).unwrap();
            assert_eq!(Error::from_wire(&serde_json::from_str(&text).unwrap()), error, "{text}");
            assert!(!text.contains('\n') && text.len() < 400, "{text}");
            assert!(seen.insert(wire["is"].as_str().unwrap().to_owned()), "{text} is named twice");
            let Some(next) = after(&error) else { break };
            // What stands for the unknown is the only one that would come back as itself without being known.
            assert_ne!(error, Error::SiteUnclear);
            error = next;
        }
        assert_eq!(seen.len(), 32);
    }

    #[test]
    fn what_is_not_known_or_lacks_a_field_is_unclear_and_texts_are_cleaned() {
        for wire in [
            json!(null),
            json!("away"),
            json!({}),
            json!({ "is": 1 }),
            json!({ "is": "on-fire" }),
            json!({ "is": "http", "status": 70_000, "what": "x" }),
            json!({ "is": "http", "status": 500 }),
            json!({ "is": "not-json", "service": "../x" }),
            json!({ "is": "certificate-unknown", "presented": "sha256:00" }),
        ] {
            assert_eq!(Error::from_wire(&wire), Error::SiteUnclear, "{wire}");
        }
        let evil = format!("a\u{1b}[2J\r\n\u{202e}{}", "b".repeat(100_000));
        let Error::BadProfile { what } = Error::from_wire(&json!({ "is": "bad-profile", "what": evil }))
        else {
            panic!("another one")
        };
        assert!(what.starts_with("a[2Jbbb") && what.len() == LONGEST, "{what}");
    }
}
