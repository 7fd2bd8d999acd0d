//! `/metrics` in Prometheus' text format 0.0.4, for this machine alone: counts and lights.
//! Absent on purpose: names of people, firms, and anything that somebody typed.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;

use super::answers::{Answer, Shared, Visitor};
use crate::site::desk::{About, Shine, View};

/// To another machine there is no such page.
pub(super) async fn metrics(State(page): Shared, request: Request) -> Answer {
    let visitor = Visitor::of(&page, &request);
    if !visitor.peer.is_local() {
        return page.nothing(&visitor);
    }
    let text = text(&page.desk.view(), page.attempts.total());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn text(view: &View, wrong_pins: u64) -> String {
    let now = view.now.as_second();
    let left =
        view.switch.until.filter(|_| view.switch.open).map_or(0, |until| (until.as_second() - now).max(0));
    let shining = |shine| view.lights.iter().filter(|light| light.shine == shine).count();
    let up = view.lights.iter().any(|light| light.about == About::Gateway && light.shine == Shine::Green);
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: String| {
        // Writing to a String does not fail.
        writeln!(
            out,
            "# HELP pforte_site_{name} {help}\n# TYPE pforte_site_{name} {kind}\npforte_site_{name} {value}"
        )
        .ok();
    };
    let flag = |on: bool| u8::from(on).to_string();
    one("switch_open", "gauge", "1 while the link is open to those who are named.", flag(view.switch.open));
    one("switch_left_seconds", "gauge", "Until it closes by itself; 0 while closed.", left.to_string());
    one("switch_backup_only", "gauge", "1 while nightly backups may run.", flag(view.switch.backup_only));
    one(
        "switch_when_possible",
        "gauge",
        "1 if it opens by itself after a restart.",
        flag(view.switch.when_possible),
    );
    one("link_up", "gauge", "1 while a gateway is reached.", flag(up));
    one("named", "gauge", "Firms and people who may come now.", view.named.len().to_string());
    one("present", "gauge", "Who is in right now.", view.present.len().to_string());
    one("asks", "gauge", "Who asks to be let in.", view.asks.len().to_string());
    one("visits", "gauge", "Visits that are over and listed, 50 at most.", view.visits.len().to_string());
    let unreported = view.visits.iter().filter(|past| !past.reported).count().to_string();
    one("visits_unreported", "gauge", "Of these, without a signed report yet.", unreported);
    let newest = view.visits.iter().map(|past| past.until.as_second()).max().unwrap_or(0).to_string();
    one("last_visit_timestamp_seconds", "gauge", "When the last visit ended; 0 if there was none.", newest);
    one("lights_red", "gauge", "Lights that are red.", shining(Shine::Red).to_string());
    one("lights_unknown", "gauge", "Lights that are not known.", shining(Shine::Unknown).to_string());
    one("clock_seconds", "gauge", "This machine's clock.", now.to_string());
    one("wrong_pins_total", "counter", "Wrong PINs at the page since its start.", wrong_pins.to_string());
    writeln!(
        out,
        "# HELP pforte_site_light 1 green, 0 red; missing while unknown.\n# TYPE pforte_site_light gauge"
    )
    .ok();
    for (n, light) in view.lights.iter().take(50).enumerate() {
        let value = match light.shine {
            Shine::Green => 1,
            Shine::Red => 0,
            Shine::Unknown => continue,
        };
        // Which one is told by its place alone: a box may be named after a doctor.
        let before = view.lights.iter().take(n).filter(|other| other.about == light.about).count();
        writeln!(out, "pforte_site_light{{about=\"{}\",number=\"{before}\"}} {value}", about(light.about))
            .ok();
    }
    out
}

fn about(about: About) -> &'static str {
    match about {
        About::Network => "network",
        About::Router => "router",
        About::Dns => "dns",
        About::PublicAddress => "public-address",
        About::Gateway => "gateway",
        About::Key => "key",
        About::Clock => "clock",
        About::Konnektor => "konnektor",
    }
}
