//! What a press does: log in and out, the language, and everything that the desk can do. Always answered with a redirect.
//! Absent on purpose: what the page then looks like.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, SET_COOKIE};

use super::answers::{Answer, Shared, Visitor, is_visit, to};
use super::sessions::{Known, News};
use super::shown::handle;
use super::words::{Language, Said, Times};
use super::{Page, guard, pin};
use crate::site::desk::{Action, By, NotDone, View};

/// How long an action may take before the page says that it hangs; it goes on.
const ACTION: Duration = Duration::from_secs(10);
/// How long a PIN waits for the ones before it.
const TURN: Duration = Duration::from_secs(3);

type Fields = HashMap<String, String>;

async fn fields(request: Request) -> Fields {
    let form: Result<Form<Vec<(String, String)>>, _> = Form::from_request(request, &()).await;
    form.map(|Form(pairs)| pairs.into_iter().take(16).collect()).unwrap_or_default()
}

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

/// The PIN: right, and a session begins; wrong, and it is asked again, ever slower.
pub(super) async fn log_in(State(page): Shared, request: Request) -> Answer {
    let mut visitor = Visitor::of(&page, &request);
    let fields = fields(request).await;
    let close = field(&fields, "then") == "close";
    visitor.query = if close { "then=close".into() } else { String::new() };
    let times = Times::new(visitor.language, "UTC", page.clock.now());
    let pin = pin::typed(field(&fields, "pin"));
    if pin.reveal().is_empty() {
        let empty = visitor.language.say("Bitte die PIN eingeben.", "Please enter the PIN.");
        return page.login(&visitor, StatusCode::BAD_REQUEST, Some(empty.into()));
    }
    let Ok(Ok(turn)) = tokio::time::timeout(TURN, page.checking.acquire()).await else {
        let busy = visitor.language.say(
            "Gerade versuchen es viele. Bitte gleich noch einmal.",
            "Many are trying. Please try again in a moment.",
        );
        return page.login(&visitor, StatusCode::SERVICE_UNAVAILABLE, Some(busy.into()));
    };
    let from = visitor.peer.from.ip();
    if let Err(wait) = page.attempts.begin(from, page.clock.now()) {
        let wait = times.wait(wait);
        let later = visitor.language.say(
            format!("Zu oft falsch. Der nächste Versuch geht in {wait}."),
            format!("Wrong too often. The next try is possible in {wait}."),
        );
        return page.login(&visitor, StatusCode::TOO_MANY_REQUESTS, Some(later));
    }
    // It counts on the disk before it is known to be wrong: a restart in between gives no guess back.
    let shared = Arc::clone(&page);
    let right = tokio::task::spawn_blocking(move || {
        shared.attempts.keep();
        let right = shared.pin.is(&pin);
        right.then(|| {
            let before = shared.attempts.right(from);
            shared.attempts.keep();
            before
        })
    });
    let right = right.await.unwrap_or(None);
    drop(turn);
    let Some(before) = right else {
        tracing::warn!(%from, "page: a wrong PIN");
        let wrong = visitor.language.say("Diese PIN stimmt nicht.", "This PIN is not right.");
        return page.login(&visitor, StatusCode::FORBIDDEN, Some(wrong.into()));
    };
    let mut news = (before > 0).then(|| was_wrong(before));
    if close {
        let (done, _) = page.act(Action::Close, &visitor).await;
        news = Some(done);
    }
    let cookie = page.sessions.begin(from, page.clock.now(), news);
    with_cookie(to("/"), &visitor, &session(&visitor, &cookie), "")
}

fn was_wrong(times: u32) -> News {
    let says = if times == 1 {
        Said {
            de: "Seit der letzten Anmeldung wurde 1 Mal eine falsche PIN eingegeben.".into(),
            en: "A wrong PIN was entered once since the last login.".into(),
        }
    } else {
        Said {
            de: format!(
                "Seit der letzten Anmeldung wurde {times} Mal eine falsche PIN eingegeben. Waren Sie das?"
            ),
            en: format!("A wrong PIN was entered {times} times since the last login. Was that you?"),
        }
    };
    News { says, wrong: false, typed: None }
}

fn session(visitor: &Visitor, value: &str) -> String {
    format!("{}={value}", guard::session_name(visitor.seals))
}

/// `lasts`: nothing, for as long as the browser runs; or a Max-Age.
fn with_cookie(mut answer: Answer, visitor: &Visitor, pair: &str, lasts: &str) -> Answer {
    let secure = if visitor.seals { "; Secure" } else { "" };
    let cookie = format!("{pair}; Path=/; HttpOnly; SameSite=Strict{lasts}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

/// The session of a form with its own token; without one it was not sent by our page.
async fn pressed(page: &Page, request: Request) -> Result<(Visitor, Known, Fields), Answer> {
    let visitor = Visitor::of(page, &request);
    let known = visitor.session(page, false);
    let fields = fields(request).await;
    let Some(known) = known else {
        // To close is always one press: the PIN is asked for, and then it is done.
        let close = visitor.path == "/do" && field(&fields, "do") == "close";
        return Err(to(if close { "/login?then=close" } else { "/login?then=again" }));
    };
    if !known.sent(field(&fields, "csrf")) {
        return Err(page.wrong(&visitor, StatusCode::FORBIDDEN));
    }
    let known = visitor.session(page, true).unwrap_or(known);
    Ok((visitor, known, fields))
}

/// Ends the session.
pub(super) async fn log_out(State(page): Shared, request: Request) -> Answer {
    match pressed(&page, request).await {
        Ok((visitor, known, _)) => {
            page.sessions.end(&known);
            with_cookie(to("/login"), &visitor, &session(&visitor, ""), "; Max-Age=0")
        }
        Err(answer) => answer,
    }
}

/// Keeps the language for a year. Needs no session: whoever cannot read the login has to be able to.
pub(super) async fn language(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    let fields = fields(request).await;
    let wanted = if field(&fields, "lang") == "en" { "en" } else { "de" };
    let back = field(&fields, "back");
    // A path of ours alone, or this would lead anywhere.
    let visit = back.strip_prefix("/visit/").is_some_and(is_visit);
    let back = if back == "/login" || visit { back } else { "/" };
    with_cookie(to(back), &visitor, &format!("lang={wanted}"), "; Max-Age=31536000")
}

/// What was pressed.
enum Press {
    Do(Action),
    /// Only that somebody is there.
    Stay,
    Nothing,
}

/// Everything that the desk can do.
pub(super) async fn act(State(page): Shared, request: Request) -> Answer {
    let (visitor, known, fields) = match pressed(&page, request).await {
        Ok(pressed) => pressed,
        Err(answer) => return answer,
    };
    let action = match press(&fields, &page.desk.view()) {
        Press::Do(action) => action,
        Press::Stay => return to("/"),
        Press::Nothing => return page.wrong(&visitor, StatusCode::BAD_REQUEST),
    };
    let typed = fields.contains_key("typed").then(|| field(&fields, "who").chars().take(80).collect());
    let (mut news, done) = page.act(action, &visitor).await;
    news.typed = typed.filter(|_| !done);
    page.sessions.tell(&known, news);
    to("/")
}

fn press(fields: &Fields, view: &View) -> Press {
    let is = |name: &str| field(fields, name).chars().take(200).collect::<String>();
    let on = field(fields, "on") == "yes";
    Press::Do(match field(fields, "do") {
        "open" => match field(fields, "minutes").parse() {
            Ok(minutes) => Action::Open { minutes },
            Err(_) => return Press::Nothing,
        },
        "today" => Action::OpenToday,
        "close" => Action::Close,
        "allow" => Action::Allow { who: called(&is("who"), view) },
        "withdraw" => Action::Withdraw { who: meant(&is("who"), view.named.iter().map(|named| &named.who)) },
        "grant" => Action::Grant { ask: meant(&is("ask"), view.asks.iter().map(|ask| &ask.id)) },
        "deny" => Action::Deny { ask: meant(&is("ask"), view.asks.iter().map(|ask| &ask.id)) },
        "end" => Action::End { visit: meant(&is("visit"), view.present.iter().map(|there| &there.visit)) },
        "backup-only" => Action::BackupOnly { on },
        "when-possible" => Action::WhenPossible { on },
        "stay" => return Press::Stay,
        _ => return Press::Nothing,
    })
}

/// The name behind a form's handle.
fn meant<'a>(pressed: &str, mut names: impl Iterator<Item = &'a String>) -> String {
    names.find(|name| handle(name) == pressed).map_or_else(|| pressed.to_owned(), String::clone)
}

/// What people type for a firm or a person: capitals, spaces around, the firm's name as it is on its letters.
fn called(typed: &str, view: &View) -> String {
    let typed = typed.trim().to_lowercase();
    view.firms
        .iter()
        .find(|firm| firm.title.trim().to_lowercase() == typed)
        .map_or(typed, |firm| firm.name.clone())
}

impl Page {
    /// Does it, to the end even if the browser goes away meanwhile. What to say of it, and whether it was done.
    async fn act(self: &Arc<Self>, action: Action, visitor: &Visitor) -> (News, bool) {
        let (desk, by) =
            (Arc::clone(&self.desk), By::Page(visitor.peer.from.ip().to_canonical().to_string()));
        let wanted = action.clone();
        let doing = tokio::spawn(async move { desk.act(action, by).await });
        let says = match tokio::time::timeout(ACTION, doing).await {
            Ok(Ok(Ok(()))) => return (News { says: self.done(&wanted), wrong: false, typed: None }, true),
            Ok(Ok(Err(why))) => why.said(),
            Ok(Err(_)) => NotDone::Broken("panic".into()).said(),
            Err(_) => Said {
                de: "Das dauert länger als sonst. Bitte schauen Sie gleich noch einmal nach.".into(),
                en: "This takes longer than usual. Please look again in a moment.".into(),
            },
        };
        (News { says, wrong: true, typed: None }, false)
    }

    /// What was done, as it is now.
    fn done(&self, action: &Action) -> Said {
        let view = self.desk.view();
        let until = |language| {
            let times = Times::new(language, &view.zone, view.now);
            view.switch.until.map_or_else(String::new, |until| times.at(until))
        };
        let (de_until, en_until) = (until(Language::German), until(Language::English));
        let name = |who: &str| {
            let firm = view
                .firms
                .iter()
                .find(|firm| firm.name == who)
                .map(|firm| super::text::visible(&firm.title, 80));
            firm.unwrap_or_else(|| super::text::person(who))
        };
        let said = |de: &str, en: &str| Said { de: de.to_owned(), en: en.to_owned() };
        match action {
            Action::Open { .. } | Action::OpenToday if view.named.is_empty() => Said {
                de: format!("Geöffnet bis {de_until}. Jetzt wählen Sie noch, wer herein darf."),
                en: format!("Open until {en_until}. Now choose who may come in."),
            },
            Action::Open { .. } | Action::OpenToday => {
                Said { de: format!("Geöffnet bis {de_until}."), en: format!("Open until {en_until}.") }
            }
            Action::Close => {
                said("Geschlossen. Niemand kann mehr herein.", "Closed. Nobody can come in any more.")
            }
            Action::Allow { who } => Said {
                de: format!("{} darf jetzt herein, bis {de_until}.", name(who)),
                en: format!("{} may come in now, until {en_until}.", name(who)),
            },
            Action::Withdraw { who } => Said {
                de: format!("{} darf nicht mehr herein.", name(who)),
                en: format!("{} may not come in any more.", name(who)),
            },
            Action::Grant { .. } => Said {
                de: format!("Hereingelassen. Offen bis {de_until}."),
                en: format!("Let in. Open until {en_until}."),
            },
            Action::Deny { .. } => {
                said("Abgelehnt. Es wurde niemand hereingelassen.", "Denied. Nobody was let in.")
            }
            Action::End { .. } => said("Der Besuch ist beendet.", "The visit is ended."),
            Action::BackupOnly { on: true } => {
                said("Die nächtliche Sicherung darf laufen.", "The nightly backup may run.")
            }
            Action::BackupOnly { on: false } => {
                said("Die nächtliche Sicherung läuft nicht mehr.", "The nightly backup runs no more.")
            }
            Action::WhenPossible { on: true } => said(
                "Nach einem Neustart wird von selbst geöffnet. Wer herein darf, bestimmen weiter Sie.",
                "It opens by itself after a restart. Who may come in is still up to you.",
            ),
            Action::WhenPossible { on: false } => {
                said("Nach einem Neustart bleibt es geschlossen.", "It stays closed after a restart.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_form_has_few_fields() {
        let body = (0..100).map(|n| format!("f{n}=x")).collect::<Vec<_>>().join("&");
        let request = Request::builder()
            .method("POST")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(body))
            .unwrap();
        assert_eq!(fields(request).await.len(), 16);
        let request = Request::builder().method("POST").body(axum::body::Body::from("do=close")).unwrap();
        assert!(fields(request).await.is_empty(), "another kind of body is no form");
    }
}
