//! The page that Approve opens on the phone: who asks for what, and a field for the number that the SSH side shows.
//! Absent on purpose: scripts, images, links, anything from elsewhere; and a second try at the number.

use std::fmt::Write as _;

use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, Method, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::factor::callback::{Call, Heard, Reply};
use crate::factor::message::shown;
use crate::factor::{Purpose, Question, Verdict};

/// Readable at 360 px, in the dark, and with large letters.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1.125rem/1.5 system-ui,sans-serif;max-width:30rem;margin:0 auto;padding:1rem}\
h1{font-size:1.375rem;margin:0 0 1rem}\
dt{font-size:.875rem;opacity:.75}\
dd{margin:0 0 .5rem;overflow-wrap:anywhere}\
label{display:block;font-weight:600;margin:1rem 0 .25rem}\
input,button{box-sizing:border-box;display:block;width:100%;min-height:3rem;margin:0 0 .75rem;font:inherit}\
input{font-size:2rem;text-align:center;letter-spacing:.25em}";

/// The words of one language.
struct Words {
    language: &'static str,
    title: &'static str,
    login: &'static str,
    command: &'static str,
    site: &'static str,
    firm: &'static str,
    user: &'static str,
    from: &'static str,
    number: &'static str,
    approve: &'static str,
    deny: &'static str,
    fraud: &'static str,
    approved: &'static str,
    wrong: &'static str,
    denied: &'static str,
    reported: &'static str,
}

const ENGLISH: Words = Words {
    language: "en",
    title: "Is this you?",
    login: "Login to the maintenance gateway",
    command: "Command",
    site: "Site",
    firm: "Firm",
    user: "User",
    from: "From",
    number: "The number that your terminal shows",
    approve: "Approve",
    deny: "Deny",
    fraud: "This was not me: report it",
    approved: "Approved. You can close this page.",
    wrong: "This is not the number. It is denied; begin again at your terminal.",
    denied: "Denied. You can close this page.",
    reported: "Denied and reported.",
};

const GERMAN: Words = Words {
    language: "de",
    title: "Sind Sie das?",
    login: "Anmeldung am Wartungszugang",
    command: "Befehl",
    site: "Standort",
    firm: "Firma",
    user: "Benutzer",
    from: "Von",
    number: "Die Zahl, die Ihr Terminal zeigt",
    approve: "Zulassen",
    deny: "Ablehnen",
    fraud: "Das war ich nicht: melden",
    approved: "Zugelassen. Sie können diese Seite schließen.",
    wrong: "Das ist nicht die Zahl. Es ist abgelehnt; beginnen Sie am Terminal von vorn.",
    denied: "Abgelehnt. Sie können diese Seite schließen.",
    reported: "Abgelehnt und gemeldet.",
};

/// GET shows the page and changes nothing; POST answers.
pub(super) fn judge(question: &Question, german: bool, call: &Call<'_>) -> Heard {
    let words = if wants_german(call.headers).unwrap_or(german) { &GERMAN } else { &ENGLISH };
    match *call.method {
        Method::GET => Heard::Nothing(html(StatusCode::OK, words, &form(question, words))),
        Method::POST => answer(question, words, call.body),
        _ => Heard::Nothing(Reply::bare(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// What was pressed. A number that is not the question's is a no, and there is no second try.
fn answer(question: &Question, words: &Words, body: &[u8]) -> Heard {
    let only = |name: &str| {
        let mut values = url::form_urlencoded::parse(body).filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.into_owned());
        if values.next().is_some() { None } else { value }
    };
    let (verdict, told) = match only("answer").as_deref() {
        Some("allow") => {
            let typed = only("number").unwrap_or_default();
            if typed.trim() == question.number.to_string() {
                (Verdict::Allowed, words.approved)
            } else {
                (Verdict::Denied, words.wrong)
            }
        }
        Some("deny") => (Verdict::Denied, words.denied),
        Some("fraud") => (Verdict::Fraud, words.reported),
        Some(_) | None => return Heard::Nothing(Reply::bare(StatusCode::BAD_REQUEST)),
    };
    Heard::Answer(verdict, html(StatusCode::OK, words, &format!("<h1 role=\"status\">{told}</h1>")))
}

fn form(question: &Question, words: &Words) -> String {
    let mut facts = Vec::new();
    let what = match &question.purpose {
        Purpose::Login => words.login,
        Purpose::Command { command, site } => {
            facts.push((words.command, shown(command)));
            facts.extend(site.as_ref().map(|site| (words.site, site.to_string())));
            words.title
        }
    };
    facts.push((words.firm, question.firm.to_string()));
    facts.push((words.user, question.user.to_string()));
    facts.push((words.from, question.from.ip().to_canonical().to_string()));
    let mut page = format!("<h1>{what}</h1>\n<dl>\n");
    for (name, value) in facts {
        // A String takes whatever is written to it.
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&value)).ok();
    }
    let Words { number, approve, deny, fraud, .. } = words;
    page.push_str("</dl>\n<form method=\"post\">\n");
    write!(
        page,
        "<label for=\"number\">{number}</label>\n\
         <input id=\"number\" name=\"number\" inputmode=\"numeric\" pattern=\"[0-9]{{2}}\" maxlength=\"2\" \
         autocomplete=\"off\" required>\n\
         <button name=\"answer\" value=\"allow\">{approve}</button>\n\
         <button name=\"answer\" value=\"deny\" formnovalidate>{deny}</button>\n\
         <button name=\"answer\" value=\"fraud\" formnovalidate>{fraud}</button>\n</form>"
    )
    .ok();
    page
}

fn html(status: StatusCode, words: &Words, body: &str) -> Reply {
    let Words { language, title, .. } = words;
    let html = format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    );
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    Reply { status, html, policy }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Does the browser ask for German rather than English (RFC 9110, 12.5.4)? `None`: it names neither.
fn wants_german(headers: &HeaderMap) -> Option<bool> {
    let mut best: Option<(bool, f32)> = None;
    let wanted = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
    for range in wanted.flat_map(|value| value.split(',')) {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).unwrap_or(0.0);
        let german = match tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "de" => true,
            "en" => false,
            _ => continue,
        };
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((german, weight));
        }
    }
    best.map(|(german, _)| german)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_the_browser_wants_most() {
        let wants = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, text.parse().unwrap());
            wants_german(&headers)
        };
        assert_eq!(wants("de-DE,de;q=0.9,en;q=0.8"), Some(true));
        assert_eq!(wants("fr, en;q=0.8, de;q=0.9"), Some(true));
        assert_eq!(wants("en-US,en;q=0.9,de;q=0.1"), Some(false));
        assert_eq!(wants("DE;q=0, en;q=0.1"), Some(false));
        assert_eq!(wants("fr;q=1, *"), None);
        assert_eq!(wants("de;q=NaN"), None);
        assert_eq!(wants(",;,;q="), None);
        assert_eq!(wants_german(&HeaderMap::new()), None);
    }
}
