//! `policy/gateway.toml`: listeners, storage, limits, the second factor, groups, persons.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::factor::{self, CallbackListener, Factors};
use super::files::{Folder, Readable};
use super::network::Network;
use super::notify::{self, Notify};
use super::problems::Problems;
use super::reader::{Document, Table, Written};
use super::storage::{self, Storage};
use crate::names::{HostPort, Username};

/// The language of sentences for people, where the client names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Deutsch.
    German,
    /// English.
    English,
}

/// What happens to clients that cannot be asked anything (BatchMode, `plink -batch`, Ansible).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// keyboard-interactive, as for everybody: they fail.
    Ask,
    /// The signed key request is held until the phone answers.
    HoldKey,
}

/// What differs for one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// How their batch clients are treated.
    pub batch: Batch,
}

/// Who may still connect; the defaults are those of OpenSSH, sharpened.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From accept to the end of the key exchange.
    pub kex_grace: Duration,
    /// From accept to a verified key.
    pub key_grace: Duration,
    /// From the verified key to the second factor's answer.
    pub factor_grace: Duration,
    /// Connections without a login, all sources together.
    pub unproven: usize,
    /// The same from one source (an IPv4 address, an IPv6 /64).
    pub unproven_per_source: usize,
    /// Connections in all.
    pub connections: usize,
    /// Sessions a connection.
    pub sessions_per_connection: usize,
    /// Connections of one person.
    pub connections_per_user: usize,
    /// Unsigned key probes a connection.
    pub key_probes: usize,
    /// The oldest a connection can get.
    pub connection_age: Duration,
    /// A prompt without input, or a connection without a session, ends after this.
    pub idle: Duration,
    /// Silence after which the client is asked whether it lives; four times without an answer end it.
    pub keepalive: Duration,
    /// Sites' links in all.
    pub links: usize,
    /// Handshakes of links at once.
    pub link_handshakes: usize,
    /// The same from one address.
    pub link_handshakes_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            kex_grace: Duration::from_secs(10),
            key_grace: Duration::from_secs(20),
            // Longer than the five minutes of a code by SMS, and than typing it.
            factor_grace: Duration::from_secs(390),
            unproven: 512,
            unproven_per_source: 4,
            connections: 4096,
            sessions_per_connection: 8,
            connections_per_user: 64,
            key_probes: 20,
            connection_age: Duration::from_hours(12),
            idle: Duration::from_hours(1),
            keepalive: Duration::from_secs(15),
            links: 20_000,
            link_handshakes: 128,
            link_handshakes_per_source: 16,
        }
    }
}

/// `policy/gateway.toml`.
pub struct Gateway {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// By which names and ports clients reach it; the first one is what the kit writes. Empty: see [`Gateway::reached_at`].
    pub names: Vec<HostPort>,
    /// For people whose client names no language.
    pub language: Language,
    /// Who can change what this gateway refuses; named in refusals.
    pub contact: Option<String>,
    /// Where things are kept.
    pub storage: Storage,
    /// Members of this group of the system may use the operator's socket, beside root and who runs the gateway.
    pub control_group: String,
    /// The second factor of whoever's firm names no other.
    pub factor: Factors,
    /// How long a question stays open.
    pub factor_timeout: Duration,
    /// Where phones and providers answer.
    pub callback: Option<CallbackListener>,
    /// `@group` of rules.toml.
    pub groups: BTreeMap<String, Vec<Username>>,
    /// `[users."firm-jane.doe"]`.
    pub users: BTreeMap<Username, Person>,
    /// Limits.
    pub limits: Limits,
    /// Peers whose PROXY header is demanded and believed; empty: nobody's.
    pub proxies: Vec<ipnet::IpNet>,
    /// age recipients of all backups, beside the gateway's own.
    pub recipients: Vec<String>,
    /// Who is told what a schedule found.
    pub notify: Option<Notify>,
}

const FILE: &str = "policy/gateway.toml";

/// `gateway.firm.example`, with `:PORT` where it is not 22; in lower case, as clients compare it.
struct PublicName(HostPort);

impl FromStr for PublicName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let name = text.parse().or_else(|_| format!("{text}:22").parse());
        name.map(Self).map_err(
            |_| "expected a host name or an address, such as gateway.firm.example or [2001:db8::1]:2222",
        )
    }
}

impl Gateway {
    /// Reads the file; what is wrong goes to `problems`.
    pub fn load(folder: &Folder, problems: &mut Problems) -> Option<Self> {
        let file = Path::new(FILE);
        let text = folder.read(file, Readable::ByAll, None, problems)?;
        let document = Document::parse(file, &text, problems)?;
        let mut root = document.root();
        let listen = root.required_list::<SocketAddr>("listen", problems);
        let names = root.list::<PublicName>("names", problems).unwrap_or_default();
        let languages = [("de", Language::German), ("en", Language::English)];
        let language = root.one_of("language", &languages, problems).unwrap_or(Language::English);
        let contact = root.parsed::<String>("contact", problems).map(|c| c.value);
        let storage = root.table("storage", problems);
        let storage =
            storage.map_or_else(Storage::default, |table| storage::storage(folder, table, problems));
        let control = root.table("control", problems).and_then(|mut table| {
            let group = table.parsed::<String>("group", problems).map(|g| g.value);
            table.finish(problems);
            group
        });
        let factor = factor::of_gateway(folder, &mut root, problems);
        let groups = root.named_lists::<Username>("groups", problems);
        let users = root.named::<Username>("users", problems);
        let users = users.into_iter().map(|(name, table)| (name, person(table, problems))).collect();
        let limits =
            root.table("limits", problems).map_or_else(Limits::default, |table| limits(table, problems));
        let proxies = root.list::<Network>("proxies", problems).unwrap_or_default();
        let recipients = root.list::<String>("recipients", problems).unwrap_or_default();
        for recipient in &recipients {
            if let Err(e) = recipient.value.parse::<age::x25519::Recipient>() {
                problems.add(recipient.place.clone(), format!("recipients: {e}"));
            }
        }
        let notify = root.table("notify", problems).and_then(|table| notify::notify(folder, table, problems));
        root.finish(problems);
        let (factor, timeout, callback) = factor?;
        if timeout.value >= limits.factor_grace {
            let message = format!(
                "second_factor.timeout ({}) must be shorter than limits.factor_grace ({}): \
                 the login would end before the question does",
                Written(timeout.value),
                Written(limits.factor_grace)
            );
            problems.add(timeout.place, message);
        }
        Some(Self {
            listen: listen.into_iter().map(|l| l.value).collect(),
            names: names.into_iter().map(|n| n.value.0).collect(),
            language,
            contact,
            storage,
            control_group: control.unwrap_or_else(|| "pforte".into()),
            factor,
            factor_timeout: timeout.value,
            callback,
            groups: groups.into_iter().map(|(n, m)| (n, m.into_iter().map(|u| u.value).collect())).collect(),
            users,
            limits,
            proxies: proxies.into_iter().map(|p| p.value.0).collect(),
            recipients: recipients.into_iter().map(|r| r.value).collect(),
            notify,
        })
    }

    /// Its public names; where the file has none, those of `listening` that are an address to connect to.
    pub fn reached_at(&self, listening: &[SocketAddr]) -> Vec<HostPort> {
        if self.names.is_empty() {
            let given = listening.iter().filter(|address| !address.ip().is_unspecified());
            given.filter_map(|address| address.to_string().parse().ok()).collect()
        } else {
            self.names.clone()
        }
    }
}

fn person(mut table: Table<'_, '_>, problems: &mut Problems) -> Person {
    let batch = table.one_of("batch", &[("ask", Batch::Ask), ("hold-key", Batch::HoldKey)], problems);
    table.finish(problems);
    Person { batch: batch.unwrap_or(Batch::Ask) }
}

fn limits(mut table: Table<'_, '_>, problems: &mut Problems) -> Limits {
    let mut found = Limits::default();
    // Shorter ones than people want, for tests and fast networks.
    let least = Duration::from_millis(100);
    let day = (least, Duration::from_hours(24));
    let mut span = |key, range, into: &mut Duration| {
        if let Some(d) = table.duration_within(key, range, problems) {
            *into = d.value;
        }
    };
    span("kex_grace", day, &mut found.kex_grace);
    span("key_grace", day, &mut found.key_grace);
    span("factor_grace", day, &mut found.factor_grace);
    span("connection_age", (least, Duration::from_hours(7 * 24)), &mut found.connection_age);
    span("idle", day, &mut found.idle);
    span("keepalive", (least, Duration::from_mins(10)), &mut found.keepalive);
    let mut count = |key, into: &mut usize| {
        if let Some(n) = table.number(key, 1..1_000_001, problems).and_then(|n| usize::try_from(n).ok()) {
            *into = n;
        }
    };
    count("unproven", &mut found.unproven);
    count("unproven_per_source", &mut found.unproven_per_source);
    count("connections", &mut found.connections);
    count("links", &mut found.links);
    count("link_handshakes", &mut found.link_handshakes);
    count("link_handshakes_per_source", &mut found.link_handshakes_per_source);
    count("sessions_per_connection", &mut found.sessions_per_connection);
    count("connections_per_user", &mut found.connections_per_user);
    count("key_probes", &mut found.key_probes);
    table.finish(problems);
    found
}
