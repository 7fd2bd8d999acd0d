//! A desk that does at once what it is told, keeps what it was told, and signs its reports with a real key.

use std::sync::Mutex;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use pforte::site::desk::{
    About, Access, Action, Ask, By, Deed, DeedKind, Desk, Firm, Light, Named, NotDone, Past, Presence,
    REPORT, Report, Said, Seal, Shine, Switch, View, Visit,
};
use tokio::sync::watch;

use super::NOW;

pub struct FakeDesk {
    view: Mutex<View>,
    clock: Mutex<Option<Clock>>,
    pub acts: Mutex<Vec<(Action, By)>>,
    changes: watch::Sender<u64>,
    key: ssh_key::PrivateKey,
    /// What a visit's report holds, if it is another one than [`visit`].
    pub visit: Mutex<Option<Visit>>,
    /// An action waits for this first.
    pub slow: Mutex<Option<std::sync::Arc<tokio::sync::Notify>>>,
}

pub fn said(de: &str, en: &str) -> Said {
    Said { de: de.into(), en: en.into() }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn deed(when: &str, kind: DeedKind, text: &str, exit: Option<u32>) -> Deed {
    Deed { at: at(when), kind, text: text.into(), exit, seq: Some(17) }
}

pub fn jane() -> Presence {
    Presence {
        visit: "01JDK3M5Q8VYH2T6XWZ4R7N9AB".into(),
        user: "firm-jane.doe".into(),
        firm: "Firma Muster IT-Service".into(),
        since: at("2026-11-23T12:51:00Z"),
        why: Some("Der Drucker an der Anmeldung druckt keine Rezepte.".into()),
        at: vec!["backup server".into(), "Konnektor main: konnektor backup".into()],
        deeds: vec![
            deed("2026-11-23T12:51:20Z", DeedKind::Command, "konnektor status", Some(0)),
            deed("2026-11-23T12:53:02Z", DeedKind::Typed, "systemctl restart cups", None),
            deed("2026-11-23T12:55:40Z", DeedKind::File, "/var/log/cups/error_log", None),
            deed("2026-11-23T12:58:00Z", DeedKind::Refused, "konnektor perform -a reboot", None),
            deed("2026-11-23T13:01:00Z", DeedKind::Command, "konnektor backup", None),
        ],
    }
}

pub fn ask() -> Ask {
    Ask {
        id: "01JDK3ASKASKASKASKASKASKAS".into(),
        user: "firm-max.muster".into(),
        firm: "Firma Muster IT-Service".into(),
        why: "Die Sicherung von heute Nacht ist rot, ich möchte nachsehen.".into(),
        minutes: 30,
        at: at("2026-11-23T13:01:30Z"),
    }
}

pub fn past() -> Past {
    Past {
        visit: "01JDJZZZQ8VYH2T6XWZ4R7N9AB".into(),
        user: "firm-jane.doe".into(),
        firm: "Firma Muster IT-Service".into(),
        why: Some("Update des Kartenterminals".into()),
        since: at("2026-11-23T08:10:00Z"),
        until: at("2026-11-23T08:52:00Z"),
        ended: "left".into(),
        deeds: 5,
        reported: true,
    }
}

pub fn visit() -> Visit {
    Visit {
        site: "praxis-mueller".into(),
        title: "Praxis Dr. Müller".into(),
        gateway: "gateway.firma.example SHA256:uNiVztksCsDhcc0u9e8BrrJXVGVRpk4gl8g8kyMqxM0".into(),
        past: past(),
        deeds_done: jane().deeds,
        left_out: 0,
        lines: vec!["{\"seq\":17}".into()],
    }
}

/// Text that means harm, in every field.
pub const HOSTILE: &str =
    "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{ 7*7 }}\u{202e}\u{200b}\u{0}\n&amp;";

pub fn hostile(view: &mut View) {
    let text = || HOSTILE.to_owned();
    view.title = text();
    view.site = text();
    view.zone = text();
    view.firms[0].title = text();
    view.firms[0].telephone = Some(text());
    view.named = vec![Named { who: text(), title: text(), until: view.now }];
    for light in &mut view.lights {
        light.which = Some(text());
        light.says = said(HOSTILE, HOSTILE);
        light.advice = Some(said(HOSTILE, HOSTILE));
        light.shine = Shine::Red;
    }
    let deed = |kind| Deed { at: view.now, kind, text: text(), exit: Some(1), seq: None };
    let deeds: Vec<Deed> =
        [DeedKind::Command, DeedKind::Typed, DeedKind::File, DeedKind::Refused].map(deed).into();
    let mut there = jane();
    (there.visit, there.user, there.firm, there.why, there.at) =
        (text(), text(), text(), Some(text()), vec![text()]);
    there.deeds.clone_from(&deeds);
    view.present = vec![there];
    let mut asked = ask();
    (asked.id, asked.user, asked.firm, asked.why) = (text(), text(), text(), text());
    view.asks = vec![asked];
    let mut was = past();
    (was.visit, was.user, was.firm, was.why, was.ended) = (text(), text(), text(), Some(text()), text());
    view.visits = vec![was];
    view.switch.open = true;
}

impl FakeDesk {
    pub fn new() -> Self {
        let light = |about, which: Option<&str>, de: &str, en: &str| Light {
            about,
            which: which.map(Into::into),
            shine: Shine::Green,
            says: said(de, en),
            advice: None,
        };
        let view = View {
            site: "praxis-mueller".into(),
            title: "Praxis Dr. Müller".into(),
            now: at(NOW),
            zone: "Europe/Berlin".into(),
            switch: Switch {
                open: false,
                until: None,
                most_minutes: 480,
                backup_only: true,
                when_possible: false,
            },
            named: vec![],
            firms: vec![
                Firm {
                    name: "firm".into(),
                    title: "Firma Muster IT-Service".into(),
                    telephone: Some("030 1234567".into()),
                },
                Firm { name: "other".into(), title: "Praxissoftware Beispiel GmbH".into(), telephone: None },
            ],
            lights: vec![
                light(
                    About::Network,
                    Some("eth0, 192.168.1.5"),
                    "Das Kabel steckt, und das Gerät hat eine Adresse.",
                    "The cable is in, and the device has an address.",
                ),
                light(About::Router, Some("192.168.1.1"), "Der Router antwortet.", "The router answers."),
                light(
                    About::Dns,
                    None,
                    "Namen im Internet werden gefunden.",
                    "Names on the internet are found.",
                ),
                light(
                    About::PublicAddress,
                    Some("203.0.113.7"),
                    "So sieht uns die Gegenstelle.",
                    "This is how the other side sees us.",
                ),
                light(
                    About::Gateway,
                    Some("gateway.firma.example"),
                    "Die Verbindung nach draußen steht.",
                    "The link outwards is up.",
                ),
                light(
                    About::Key,
                    Some("gateway.firma.example"),
                    "Es ist die richtige Gegenstelle.",
                    "It is the right other side.",
                ),
                light(About::Clock, None, "Die Uhr geht richtig.", "The clock is right."),
                light(About::Konnektor, Some("main"), "Der Konnektor antwortet.", "The Konnektor answers."),
            ],
            present: vec![],
            asks: vec![],
            visits: vec![
                past(),
                Past {
                    visit: "01JDJYYYQ8VYH2T6XWZ4R7N9AB".into(),
                    user: "@schedule".into(),
                    firm: String::new(),
                    why: None,
                    since: at("2026-11-23T01:00:00Z"),
                    until: at("2026-11-23T01:04:00Z"),
                    deeds: 1,
                    reported: false,
                    ..past()
                },
            ],
            access: vec![],
        };
        let seed = ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
        Self {
            view: Mutex::new(view),
            clock: Mutex::default(),
            acts: Mutex::default(),
            changes: watch::Sender::new(0),
            key: ssh_key::PrivateKey::from(seed),
            visit: Mutex::default(),
            slow: Mutex::default(),
        }
    }

    pub fn use_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap() = Some(clock);
    }

    /// Something happens at the site.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap());
        self.changes.send_modify(|n| *n += 1);
    }

    /// What it was told so far.
    pub fn told(&self) -> Vec<Action> {
        self.acts.lock().unwrap().iter().map(|(action, _)| action.clone()).collect()
    }

    /// One of the moments that the browser asks for by its name.
    pub fn happen(&self, what: &str) {
        let soon = self.view().now + SignedDuration::from_mins(28);
        let open = |view: &mut View| {
            view.switch.open = true;
            view.switch.until = Some(soon);
        };
        self.change(|view| match what {
            "closed" => {
                view.switch.open = false;
                view.switch.until = None;
                (view.named, view.present, view.asks) = (vec![], vec![], vec![]);
            }
            "open" => open(view),
            "enter" => view.present = vec![jane()],
            "deed" => {
                view.present[0].deeds.push(deed("2026-11-23T13:02:00Z", DeedKind::Typed, "lpstat -p", None));
            }
            "ask" => view.asks = vec![ask()],
            "red" => {
                let light = view.lights.last_mut().unwrap();
                light.shine = Shine::Red;
                light.says = said("Der Konnektor antwortet nicht.", "The Konnektor does not answer.");
                light.advice = Some(said(
                    "Sehen Sie nach, ob der Konnektor Strom hat und sein Netzwerkkabel steckt.",
                    "See whether the Konnektor has power and its network cable is in.",
                ));
                view.lights[3].shine = Shine::Unknown;
                view.lights[3].says = said("Das wird gerade geprüft.", "This is being checked.");
            }
            "green" => {
                for light in &mut view.lights {
                    (light.shine, light.advice) = (Shine::Green, None);
                }
            }
            "hostile" => hostile(view),
            "all" => {
                open(view);
                let until = soon;
                view.named = vec![
                    Named { who: "firm".into(), title: "Firma Muster IT-Service".into(), until },
                    Named { who: "fremd-eva.mueller".into(), title: "Fremdfirma".into(), until },
                ];
                view.present = vec![jane()];
                view.asks = vec![ask()];
                view.access = vec![Access {
                    url: "https://192.168.1.5:8022/".into(),
                    seal: Seal::Own,
                    fingerprint: Some(vec!["AB"; 32].join(":")),
                    until: Some(at("2028-11-22T00:00:00Z")),
                    warning: Some(said("Das Zertifikat wird alt.", "The certificate grows old.")),
                }];
            }
            other => panic!("{other}"),
        });
    }
}

#[async_trait]
impl Desk for FakeDesk {
    fn view(&self) -> View {
        let mut view = self.view.lock().unwrap().clone();
        if let Some(clock) = &*self.clock.lock().unwrap() {
            view.now = clock.now();
        }
        view
    }

    async fn act(&self, action: Action, by: By) -> Result<(), NotDone> {
        let slow = self.slow.lock().unwrap().clone();
        if let Some(slow) = slow {
            slow.notified().await;
        }
        let now = self.view().now;
        self.acts.lock().unwrap().push((action.clone(), by));
        let mut done = Ok(());
        self.change(|view| {
            let mut open = |minutes: u32| {
                view.switch.open = true;
                view.switch.until = Some(now + SignedDuration::from_mins(minutes.into()));
            };
            match action {
                Action::Open { minutes } if minutes > view.switch.most_minutes => {
                    done = Err(NotDone::TooLong(view.switch.most_minutes));
                }
                Action::Open { minutes } => open(minutes),
                Action::OpenToday => open(480),
                Action::Close => {
                    view.switch.open = false;
                    view.switch.until = None;
                    view.present.clear();
                    view.named.clear();
                }
                Action::Allow { who } => match view.switch.until {
                    None => done = Err(NotDone::Closed),
                    Some(_) if !who.starts_with("firm") && who != "other" => done = Err(NotDone::NoSuchName),
                    Some(until) => view.named.push(Named { who, title: String::new(), until }),
                },
                Action::Withdraw { who } => view.named.retain(|named| named.who != who),
                Action::Grant { ask } => {
                    let Some(found) = view.asks.iter().position(|it| it.id == ask) else {
                        done = Err(NotDone::Gone);
                        return;
                    };
                    let ask = view.asks.remove(found);
                    let until = now + SignedDuration::from_mins(ask.minutes.into());
                    view.switch.open = true;
                    view.switch.until.get_or_insert(until);
                    view.named.push(Named { who: ask.user, title: ask.firm, until });
                }
                Action::Deny { ask } => view.asks.retain(|it| it.id != ask),
                Action::End { visit } => view.present.retain(|there| there.visit != visit),
                Action::BackupOnly { on } => view.switch.backup_only = on,
                Action::WhenPossible { on } => view.switch.when_possible = on,
            }
        });
        done
    }

    async fn report(&self, name: &str) -> Option<Report> {
        if name != past().visit {
            return None;
        }
        let held = self.visit.lock().unwrap().clone().unwrap_or_else(visit);
        let json = serde_json::to_string(&held).unwrap();
        let signature = self.key.sign(REPORT, ssh_key::HashAlg::Sha512, json.as_bytes()).unwrap();
        Some(Report {
            json,
            signature: signature.to_pem(ssh_key::LineEnding::LF).unwrap(),
            key: self.key.public_key().to_openssh().unwrap() + " site",
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
