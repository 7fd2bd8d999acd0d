//! How a make lets in, as data: a form and a token in its pages, a bearer header, or a session cookie.
//! Absent on purpose: doing it; the drivers do.

use serde::Deserialize;

use crate::names::ServiceName;

/// One of `[login.form]`, `[login.bearer]`, `[login.session]`; it chooses the driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Login {
    Form(Form),
    Bearer(Bearer),
    Session(CookieSession),
}

/// A web page's form, cookies, and a token against forged requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    pub(crate) entry: String,
    pub(crate) post: String,
    pub(crate) start: String,
    pub(crate) user_field: String,
    pub(crate) password_field: String,
    pub(crate) content_type: String,
    pub(crate) logout: String,
    pub(crate) token: Token,
    pub(crate) markers: Markers,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    pub(crate) header: String,
    pub(crate) textarea: String,
    pub(crate) cookie_service: ServiceName,
    pub(crate) session_cookies: Vec<String>,
    pub(crate) send_on_read: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Markers {
    pub(crate) login: Vec<String>,
    pub(crate) password_change: Vec<String>,
    pub(crate) password_change_inputs: usize,
}

/// JSON in, an `Authorization` header out, which every later request carries as it came.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bearer {
    pub(crate) post: String,
    pub(crate) user_field: String,
    pub(crate) password_field: String,
    /// Asked with DELETE; empty: not known.
    pub(crate) logout: String,
}

/// A cookie first, then JSON in under that cookie.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CookieSession {
    /// Asked first, with GET; its answer sets the cookie.
    pub(crate) open: String,
    pub(crate) cookie: String,
    pub(crate) post: String,
    pub(crate) user_field: String,
    pub(crate) password_field: String,
    /// The value of `X-Requested-With` in every request.
    pub(crate) requested_with: String,
}

impl Login {
    /// Every path in it and its key; an empty one is a mistake but for `logout`.
    pub(super) fn paths(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Form(form) => vec![
                ("login.form.entry", &form.entry),
                ("login.form.post", &form.post),
                ("login.form.start", &form.start),
            ],
            Self::Bearer(bearer) => vec![("login.bearer.post", &bearer.post)],
            Self::Session(session) => {
                vec![("login.session.open", &session.open), ("login.session.post", &session.post)]
            }
        }
    }

    /// Markers as they are compared.
    pub(super) fn fold(&mut self) {
        if let Self::Form(form) = self {
            let Markers { login, password_change, .. } = &mut form.markers;
            for marker in login.iter_mut().chain(password_change) {
                *marker = marker.to_lowercase();
            }
        }
    }
}
