//! One function a page: what is read becomes HTML, a stream of news, or one of the three files that never change.
//! Absent on purpose: what is done by a press; see `doings`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use minijinja::{Environment, UndefinedBehavior, Value, context, value::Serde};

use super::guard::{self, Peer, Way};
use super::sessions::{Known, News};
use super::shown::Shown;
use super::words::{Language, Times};
use super::{Page, doings, metrics, report};

/// The most bytes of a form.
const BODY_LIMIT: usize = 16 * 1024;
/// For a form's bytes.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// A stream of news ends then and is asked for again.
const STREAM_LASTS: Duration = Duration::from_mins(4);
/// The warning before the PIN is asked for again (WCAG 2.2, 2.2.1).
const WARNED: i64 = 150;

pub(super) type Answer = Response<Body>;
pub(super) type Shared = State<Arc<Page>>;

/// All paths.
pub(super) fn router(page: Arc<Page>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/part", get(part))
        .route("/events", get(events))
        .route("/login", get(login).post(doings::log_in))
        .route("/logout", post(doings::log_out))
        .route("/language", post(doings::language))
        .route("/do", post(doings::act))
        .route("/visit/{file}", get(report::visit))
        .route("/metrics", get(metrics::metrics))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("html/page.css"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("html/page.js"))))
        .route("/icon.svg", get(async || file("image/svg+xml", include_str!("html/icon.svg"))))
        .fallback(async |State(page): Shared, request: Request| page.nothing(&Visitor::of(&page, &request)))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&page), watched))
        .with_state(page)
}

/// The templates, each escaped as HTML by its name; a name that one misspells is an error, not an empty text.
pub(super) fn templates() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.add_function("say", |state: &minijinja::State, german: String, english: String| {
        if state.lookup("lang").is_some_and(|lang| lang.as_str() == Some("en")) { english } else { german }
    });
    for (name, text) in [
        ("layout.html", include_str!("html/layout.html")),
        ("login.html", include_str!("html/login.html")),
        ("front.html", include_str!("html/front.html")),
        ("part.html", include_str!("html/part.html")),
        ("visit.html", include_str!("html/visit.html")),
        ("wrong.html", include_str!("html/wrong.html")),
        ("light.html", include_str!("html/light.html")),
        ("deed.html", include_str!("html/deed.html")),
    ] {
        if let Err(error) = env.add_template(name, text) {
            tracing::error!(%error, name, "page: a template");
        }
    }
    env
}

/// Guards every path, and seals every answer.
async fn watched(State(page): Shared, request: Request, next: Next) -> Answer {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return guard::sealed(StatusCode::INTERNAL_SERVER_ERROR.into_response(), Way::Plain);
    };
    let sealed = |answer| guard::sealed(answer, peer.way);
    if peer.way == Way::Astray {
        return sealed(guard::led_on(&request, peer, &page.hosts));
    }
    if let Some(status) = guard::refusal(&request, peer, &page.hosts) {
        tracing::debug!(from = %peer.from.ip(), %status, "page: refused");
        // To another name nothing is said in our words: they would be read as that name's.
        let answer = if status == StatusCode::MISDIRECTED_REQUEST {
            status.into_response()
        } else {
            let visitor = Visitor::of(&page, &request);
            page.wrong(&visitor, status)
        };
        return sealed(answer);
    }
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return sealed(closing(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let body = match tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return sealed(closing(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => return sealed(closing(StatusCode::REQUEST_TIMEOUT)),
    };
    sealed(next.run(Request::from_parts(head, Body::from(body))).await)
}

fn closing(status: StatusCode) -> Answer {
    (status, [(header::CONNECTION, "close")]).into_response()
}

fn file(kind: &'static str, text: &'static str) -> Answer {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Whose request it is.
pub(super) struct Visitor {
    pub(super) peer: Peer,
    pub(super) language: Language,
    pub(super) path: String,
    pub(super) cookie: Option<String>,
    /// The cookies that it gets are for TLS alone.
    pub(super) seals: bool,
    /// Another path than `/` may be what they wanted before they were asked for the PIN.
    pub(super) query: String,
}

impl Visitor {
    pub(super) fn of(_page: &Page, request: &Request) -> Self {
        let headers: &HeaderMap = request.headers();
        let unknown = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = Peer { from: unknown, to: unknown, way: Way::Plain };
        let peer = request.extensions().get::<Peer>().copied().unwrap_or(peer);
        Self {
            peer,
            seals: guard::seals_cookies(headers, peer),
            language: Language::of(guard::cookie(headers, "lang"), headers),
            path: request.uri().path().to_owned(),
            cookie: guard::session(headers, peer).map(str::to_owned),
            query: request.uri().query().unwrap_or_default().to_owned(),
        }
    }

    /// The session, if there is one. `touch`: a person did something.
    pub(super) fn session(&self, page: &Page, touch: bool) -> Option<Known> {
        page.sessions.find(self.cookie.as_deref()?, self.peer.from.ip(), page.clock.now(), touch)
    }
}

async fn front(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    let Some(known) = visitor.session(&page, true) else { return to("/login") };
    let news = page.sessions.news(&known);
    page.front(&visitor, &known, "front.html", news.as_ref())
}

/// The live parts alone, for the script; nobody did anything.
async fn part(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    let Some(known) = visitor.session(&page, false) else { return StatusCode::UNAUTHORIZED.into_response() };
    page.front(&visitor, &known, "part.html", None)
}

/// A number with each change; the page then fetches its parts.
async fn events(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    let Some(known) = visitor.session(&page, false) else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(place) = Arc::clone(&page.streams).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let lasts = Duration::try_from(known.left).unwrap_or_default().min(STREAM_LASTS);
    let ends = tokio::time::Instant::now() + lasts;
    let (changes, stop) = (page.desk.changes(), page.stop.clone());
    let news =
        futures::stream::unfold((changes, stop, place), move |(mut changes, stop, place)| async move {
            let goes_on = tokio::select! {
            told = changes.changed() => told.is_ok(),
                () = tokio::time::sleep_until(ends) => false,
                () = stop.cancelled() => false,
            };
            let number = goes_on.then(|| changes.borrow_and_update().to_string())?;
            Some((Ok::<_, Infallible>(Event::default().data(number)), (changes, stop, place)))
        });
    let alive = KeepAlive::new().interval(Duration::from_secs(20));
    let mut answer = Sse::new(news).keep_alive(alive).into_response();
    // The place in the browser's six is given back with the stream.
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

async fn login(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    if visitor.session(&page, false).is_some() {
        return to("/");
    }
    page.login(&visitor, StatusCode::OK, None)
}

/// With GET, whatever it was (RFC 9110 §15.4.4).
pub(super) fn to(path: &str) -> Answer {
    Redirect::to(path).into_response()
}

impl Page {
    fn front(&self, visitor: &Visitor, known: &Known, template: &str, news: Option<&News>) -> Answer {
        let view = self.desk.view();
        let times = Times::new(visitor.language, &view.zone, view.now);
        let shown = Shown::of(&view, &times, visitor.peer);
        let heading = shown.summary().to_owned();
        let ends = known.left.as_secs();
        self.html(
            visitor,
            template,
            StatusCode::OK,
            context! {
                v => Value::from(Serde(shown)),
                heading,
                csrf => known.token.as_str(),
                ends => (ends < WARNED).then(|| times.wait(known.left)),
                idle => times.wait(known.left),
                news => news.map(|news| visitor.language.of_both(&news.says)),
                wrong => news.is_some_and(|news| news.wrong),
                typed => news.and_then(|news| news.typed.as_deref()),
            },
        )
    }

    /// The question for the PIN; `wrong` is why it is asked again.
    pub(super) fn login(&self, visitor: &Visitor, status: StatusCode, wrong: Option<String>) -> Answer {
        let then = match visitor.query.as_str() {
            "then=close" => "close",
            "then=again" => "again",
            _ => "",
        };
        let view = self.desk.view();
        let title = super::text::visible(&view.title, 80);
        let plain = visitor.peer.way == Way::Proxied;
        self.html(visitor, "login.html", status, context! { title, wrong, then, plain })
    }

    /// There is no such page.
    pub(super) fn nothing(&self, visitor: &Visitor) -> Answer {
        self.wrong(visitor, StatusCode::NOT_FOUND)
    }

    /// A page for people whose request was none.
    pub(super) fn wrong(&self, visitor: &Visitor, status: StatusCode) -> Answer {
        let known = visitor.session(self, false);
        let context = context! { status => status.as_u16(), csrf => known.map(|known| known.token) };
        self.html(visitor, "wrong.html", status, context)
    }

    /// One template, as HTML.
    pub(super) fn html(&self, visitor: &Visitor, template: &str, status: StatusCode, inner: Value) -> Answer {
        let shared = context! { lang => visitor.language.tag(), path => visitor.path.as_str() };
        let made = self
            .templates
            .get_template(template)
            .and_then(|template| template.render(context! { ..inner, ..shared }));
        match made {
            Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
            Err(error) => {
                tracing::error!(%error, template, "page: a template and its data do not fit");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The last part of a path: a visit's name, and what is wanted of it.
pub(super) fn visit_name(Path(file): Path<String>) -> Option<(String, String)> {
    let (id, kind) = file.split_once('.').unwrap_or((&file, ""));
    is_visit(id).then(|| (id.to_owned(), kind.to_owned()))
}

/// Can it be a visit's name? It stands in paths, files' names and a command line, where a first dash would be an option.
pub(super) fn is_visit(id: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=64).contains(&id.len()) && !id.starts_with('-') && id.bytes().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_a_session_or_one_of_its_numbers_and_no_path_or_option() {
        for good in ["01JDJZZZQ8VYH2T6XWZ4R7N9AB", "01JDJZZZQ8VYH2T6XWZ4R7N9AB-2"] {
            assert!(is_visit(good), "{good}");
            assert_eq!(visit_name(Path(format!("{good}.json"))), Some((good.into(), "json".into())));
        }
        for bad in ["", "-f", "..", "../x", "a/b", "a b", "a;b", "a$b", "ä", "x".repeat(65).as_str()] {
            assert!(!is_visit(bad), "{bad}");
        }
    }
}
