//! What a simulated `KoCoBox` answers when nothing is wrong: Java EE form login, start page, services out of the folder.
//! Absent on purpose: what changes something; see `koco/writes`.

pub(super) mod content;
pub(super) mod physical;
pub(super) mod writes;

use axum::body::Body;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::network::Own;
use super::replies::{html, redirect, set, status, xml};
use super::{Session, Shared, TokenWay, directory, lock, random};
use crate::names::ServiceName;

pub(super) const LOGIN_PAGE: &str = "/administration/login.htm";
const START_PAGE: &str = "/administration/start.htm";
const PASSWORD_PAGE: &str = "/administration/kennwort.htm";
pub(super) const SESSION_COOKIE: &str = "JSESSIONID";
const TOKEN_COOKIE: &str = "KBXTOKEN";
const TOKEN_SERVICE: &str = "infoservice";

impl Shared {
    pub(super) async fn koco(&self, request: Request<Body>, own: &Own) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let session = self.cookie_session(&parts.headers);
        match (&parts.method, path) {
            (&Method::GET, "/connector.sds") => {
                xml(directory::directory(self.options.make, &lock(&self.firmware)))
            }
            (&Method::GET, LOGIN_PAGE) => self.login_page(),
            (&Method::POST, "/j_security_check") => self.log_in(&parts.headers, body).await,
            _ => {
                let Some((id, session)) = session.filter(|(_, session)| session.logged_in) else {
                    return redirect(LOGIN_PAGE);
                };
                self.behind_login(&parts, body, &id, session, own).await
            }
        }
    }

    async fn behind_login(
        &self,
        parts: &Parts,
        body: Body,
        id: &str,
        session: Session,
        own: &Own,
    ) -> Response<Body> {
        let path = parts.uri.path();
        if self.options.forced_password_change {
            return if path == PASSWORD_PAGE { password_page() } else { redirect(PASSWORD_PAGE) };
        }
        let token_ok =
            parts.headers.get("x-token").is_some_and(|value| value.as_bytes() == session.token.as_bytes());
        let rest = path.strip_prefix("/administration/").unwrap_or("");
        match (&parts.method, rest.split_once('/')) {
            (&Method::GET, None) if rest.is_empty() => redirect(START_PAGE),
            (&Method::GET, None) if path == START_PAGE => self.start_page(id),
            (&Method::GET, Some(("json-retrieve", service))) => {
                if self.options.token_on_reads && service != TOKEN_SERVICE && !token_ok {
                    return status(StatusCode::FORBIDDEN);
                }
                self.service(service, id).await
            }
            (&Method::POST, Some(("json-store" | "perform", _))) if !token_ok => {
                status(StatusCode::FORBIDDEN)
            }
            (&Method::POST, Some(("json-store", service))) if self.options.writable => {
                let answer = self.store(service, &parts.headers, body, own).await;
                self.with_token(answer, id)
            }
            (&Method::POST, Some(("perform", action))) => self.perform(action, body, own).await,
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    /// The session a request's cookie names.
    pub(super) fn cookie_session(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let id = pairs.find(|(name, _)| *name == SESSION_COOKIE)?.1;
        let session = lock(&self.sessions).get(id).cloned()?;
        Some((id.to_owned(), session))
    }

    pub(super) fn new_session(&self, logged_in: bool) -> String {
        let id = random();
        lock(&self.sessions).insert(id.clone(), Session { logged_in, token: random() });
        id
    }

    /// Served with 200, as form login does it, and a session that knows nobody yet.
    fn login_page(&self) -> Response<Body> {
        let mut page = html(
            "<form method=\"post\" action=\"/j_security_check\"><input name=\"j_username\"><input type=\"password\" name=\"j_password\"></form>",
        );
        let id = self.new_session(false);
        set(&mut page, header::SET_COOKIE, &format!("{SESSION_COOKIE}={id}; Path=/; Secure; HttpOnly"));
        page
    }

    async fn log_in(&self, headers: &HeaderMap, body: Body) -> Response<Body> {
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let Ok(body) = axum::body::to_bytes(body, 65536).await else {
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let (mut user, mut password) = (None, None);
        for (name, value) in url::form_urlencoded::parse(&body) {
            match name.as_ref() {
                "j_username" => user = Some(value.into_owned()),
                "j_password" => password = Some(value.into_owned()),
                _ => {}
            }
        }
        let right = is_form
            && user.as_deref() == Some(self.options.user.as_str())
            && password.as_deref() == Some(self.options.password.reveal());
        if !right {
            return self.login_page();
        }
        let id = self.new_session(true);
        let mut answer =
            redirect(if self.options.forced_password_change { PASSWORD_PAGE } else { START_PAGE });
        set(&mut answer, header::SET_COOKIE, &format!("{SESSION_COOKIE}={id}; Path=/; Secure; HttpOnly"));
        answer
    }

    fn start_page(&self, id: &str) -> Response<Body> {
        if self.options.token == TokenWay::Cookie {
            return html("<h1>KoCoBox MED+</h1><a href=\"kennwort.htm\">Passwort</a>");
        }
        let token = self.token(id);
        html(&format!(
            "<h1>KoCoBox MED+</h1><textarea id=\"x-token\" style=\"display:none\">{token}</textarea>"
        ))
    }

    /// The session's token; a new one each time where they rotate.
    fn token(&self, id: &str) -> String {
        let mut sessions = lock(&self.sessions);
        let Some(session) = sessions.get_mut(id) else { return String::new() };
        if self.options.rotating {
            session.token = random();
        }
        session.token.clone()
    }

    async fn service(&self, name: &str, id: &str) -> Response<Body> {
        let Ok(name) = name.parse::<ServiceName>() else { return status(StatusCode::NOT_FOUND) };
        if self.closed_to_reads(name.as_str()) {
            return status(StatusCode::FORBIDDEN);
        }
        let answer = self.folder.answer(name.as_str()).await;
        if answer.status().is_success() { self.with_token(answer, id) } else { answer }
    }

    fn with_token(&self, mut answer: Response<Body>, id: &str) -> Response<Body> {
        if self.options.token != TokenWay::Textarea {
            let token = self.token(id);
            set(&mut answer, header::SET_COOKIE, &format!("{TOKEN_COOKIE}={token}; Path=/"));
        }
        answer
    }
}

fn password_page() -> Response<Body> {
    html(
        "<h1>Kennwort abgelaufen</h1><input type=\"password\" name=\"neu1\"><input type=\"password\" name=\"neu2\">",
    )
}
