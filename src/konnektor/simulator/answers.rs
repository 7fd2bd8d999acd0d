//! What the simulated box answers when nothing is wrong: Java EE form login, start page, services, `connector.sds`.
//! Absent on purpose: writing of services; how the real box takes them is not publicly known.

use axum::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{Session, Shared, TokenWay, content, lock};
use crate::names::ServiceName;

pub(super) const LOGIN_PAGE: &str = "/administration/login.htm";
const START_PAGE: &str = "/administration/start.htm";
const PASSWORD_PAGE: &str = "/administration/kennwort.htm";
const SESSION_COOKIE: &str = "JSESSIONID";
const TOKEN_COOKIE: &str = "KBXTOKEN";
const TOKEN_SERVICE: &str = "infoservice";

impl Shared {
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let session = self.session_of(&parts.headers);
        match (&parts.method, path) {
            (&Method::GET, "/connector.sds") => xml(content::directory(&self.options.firmware)),
            (&Method::GET, LOGIN_PAGE) => self.login_page(),
            (&Method::POST, "/j_security_check") => self.log_in(&parts.headers, body).await,
            _ => {
                let Some((id, session)) = session.filter(|(_, session)| session.logged_in) else {
                    return redirect(LOGIN_PAGE);
                };
                self.behind_login(&parts.method, path, &parts.headers, &id, session).await
            }
        }
    }

    async fn behind_login(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        id: &str,
        session: Session,
    ) -> Response<Body> {
        if self.options.forced_password_change {
            return if path == PASSWORD_PAGE { password_page() } else { redirect(PASSWORD_PAGE) };
        }
        let token_ok =
            headers.get("x-token").is_some_and(|value| value.as_bytes() == session.token.as_bytes());
        let rest = path.strip_prefix("/administration/").unwrap_or("");
        match (method, rest.split_once('/')) {
            (&Method::GET, None) if rest.is_empty() => redirect(START_PAGE),
            (&Method::GET, None) if path == START_PAGE => self.start_page(id),
            (&Method::GET, Some(("json-retrieve", service))) => {
                if self.options.token_on_reads && service != TOKEN_SERVICE && !token_ok {
                    return status(StatusCode::FORBIDDEN);
                }
                self.service(service, id).await
            }
            (&Method::POST, Some(("perform", _))) if !token_ok => status(StatusCode::FORBIDDEN),
            (&Method::POST, Some(("perform", "reboot"))) => {
                lock(&self.sessions).clear();
                json(Body::from("{}"))
            }
            (&Method::POST, Some(("perform", "delete-ct"))) => json(Body::from("{}")),
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    /// The session a request's cookie names.
    pub(super) fn session_of(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let id = pairs.find(|(name, _)| *name == SESSION_COOKIE)?.1;
        let session = lock(&self.sessions).get(id).cloned()?;
        Some((id.to_owned(), session))
    }

    fn new_session(&self, logged_in: bool) -> String {
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
        let session = sessions.entry(id.to_owned()).or_default();
        if self.options.rotating {
            session.token = random();
        }
        session.token.clone()
    }

    async fn service(&self, name: &str, id: &str) -> Response<Body> {
        let Ok(name) = name.parse::<ServiceName>() else { return status(StatusCode::NOT_FOUND) };
        let Ok(text) = tokio::fs::read(self.options.dir.join(format!("{name}.json"))).await else {
            return status(StatusCode::NOT_FOUND);
        };
        let mut answer = json(Body::from(text));
        if self.options.token != TokenWay::Textarea {
            let token = self.token(id);
            set(&mut answer, header::SET_COOKIE, &format!("{TOKEN_COOKIE}={token}; Path=/"));
        }
        answer
    }
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn password_page() -> Response<Body> {
    html(
        "<h1>Kennwort abgelaufen</h1><input type=\"password\" name=\"neu1\"><input type=\"password\" name=\"neu2\">",
    )
}

pub(super) fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().append(name, value);
    }
}

fn of(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn html(content: &str) -> Response<Body> {
    of(
        StatusCode::OK,
        "text/html;charset=UTF-8",
        Body::from(format!("<!doctype html><html><body>{content}</body></html>")),
    )
}

pub(super) fn json(body: Body) -> Response<Body> {
    of(StatusCode::OK, "application/json;charset=UTF-8", body)
}

fn xml(text: String) -> Response<Body> {
    of(StatusCode::OK, "text/xml;charset=UTF-8", Body::from(text))
}

pub(super) fn status(status: StatusCode) -> Response<Body> {
    of(status, "text/html;charset=UTF-8", Body::from("<html></html>"))
}

pub(super) fn redirect(to: &str) -> Response<Body> {
    let mut answer = of(StatusCode::FOUND, "text/html;charset=UTF-8", Body::empty());
    set(&mut answer, header::LOCATION, to);
    answer
}
