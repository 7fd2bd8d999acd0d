//! The report of a visit: for people, and as the three files by which anybody checks it with ssh-keygen alone.
//! Absent on purpose: making and signing it.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::IntoResponse as _;
use minijinja::{Value, context, value::Serde};
use ssh_key::{HashAlg, PublicKey};

use super::Page;
use super::answers::{Answer, Shared, Visitor, to, visit_name};
use super::sessions::Known;
use super::shown::{DeedShown, PastShown};
use super::text::visible;
use super::words::Times;
use crate::site::desk::{REPORT, Report, Visit};

/// `/visit/ID`, `/visit/ID.json`, `/visit/ID.sig`, `/visit/ID.signers`.
pub(super) async fn visit(State(page): Shared, path: Path<String>, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    let Some(known) = visitor.session(&page, true) else { return to("/login") };
    let Some((id, kind)) = visit_name(path) else { return page.nothing(&visitor) };
    let view = page.desk.view();
    let Some(report) = page.desk.report(&id).await else {
        let was = view.visits.iter().any(|past| past.visit == id)
            || view.present.iter().any(|there| there.visit == id);
        if was && kind.is_empty() {
            let context = context! { status => 425, csrf => known.token };
            return page.html(&visitor, "wrong.html", StatusCode::NOT_FOUND, context);
        }
        return page.nothing(&visitor);
    };
    match kind.as_str() {
        "" => html(&page, &visitor, &known, &id, &report),
        "json" => download("application/json", &format!("{id}.json"), report.json),
        "sig" => download("text/plain; charset=utf-8", &format!("{id}.json.sig"), report.signature),
        "signers" => match signers(&report, &view.site) {
            Some(line) => download("text/plain; charset=utf-8", &format!("{id}.signers"), line),
            None => page.nothing(&visitor),
        },
        _ => page.nothing(&visitor),
    }
}

fn download(kind: &'static str, name: &str, text: String) -> Answer {
    // The name is of a visit's letters alone.
    let name = format!("attachment; filename=\"{name}\"");
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name)], text).into_response()
}

/// A line of ssh-keygen(1)'s ALLOWED SIGNERS: the site, for reports alone, its key. `None` if it has no such name or key.
fn signers(report: &Report, site: &str) -> Option<String> {
    let site: crate::names::SiteName = site.parse().ok()?;
    let key = PublicKey::from_openssh(&report.key).ok()?;
    let bare = PublicKey::new(key.key_data().clone(), "").to_openssh().ok()?;
    Some(format!("{site} namespaces=\"{REPORT}\" {}\n", bare.trim()))
}

fn html(page: &Page, visitor: &Visitor, known: &Known, id: &str, report: &Report) -> Answer {
    let view = page.desk.view();
    let times = Times::new(visitor.language, &view.zone, view.now);
    let fingerprint =
        PublicKey::from_openssh(&report.key).map(|key| key.fingerprint(HashAlg::Sha256).to_string());
    // One that does not read can still be fetched and checked.
    let read: Option<Visit> = serde_json::from_str(&report.json).ok();
    let shown = read.as_ref().map(|visit| {
        let deeds: Vec<DeedShown> =
            visit.deeds_done.iter().map(|deed| DeedShown::of(deed, &times, false)).collect();
        context! {
            past => Value::from(Serde(PastShown::of(&visit.past, &times))),
            title => visible(&visit.title, 80),
            site => visible(&visit.site, 80),
            gateway => visible(&visit.gateway, 200),
            deeds => Value::from(Serde(deeds)),
            left_out => visit.left_out,
            lines => visit.lines.len(),
        }
    });
    page.html(
        visitor,
        "visit.html",
        StatusCode::OK,
        context! {
            id,
            csrf => known.token.as_str(),
            visit => shown,
            signer => signers(report, &view.site).map(|_| view.site.clone()),
            namespace => REPORT,
            fingerprint => fingerprint.ok(),
            zone => visible(&view.zone, 40),
        },
    )
}
