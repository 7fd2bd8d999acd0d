//! `[second_factor]`, of `policy/gateway.toml` and of a firm's file: which providers there are, and which one is asked.
//! Absent on purpose: asking.

mod duo;
mod privacyidea;
mod sms;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::sms::{SmsBy, SmsFactor};
pub use duo::{DuoFactor, DuoSignature};

use super::files::{Folder, Readable};
use super::problems::{Place, Problems, near_miss};
use super::reader::{At, Table, Written};
use crate::names::Topic;
use crate::secret::Secret;
pub use privacyidea::{PrivacyIdeaFactor, PrivacyIdeaService};

/// The kinds of providers. `[second_factor.KIND]` holds the settings of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An HTTP service that rings the phone.
    Webhook,
    /// A program that rings the phone.
    Exec,
    /// Codes by RFC 6238.
    Totp,
    /// Duo: a push, an SMS, a code.
    Duo,
    /// privacyIDEA: push, SMS and codes.
    PrivacyIdea,
    /// A notification of an ntfy server.
    Ntfy,
    /// Codes by SMS.
    Sms,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] =
        [Kind::Webhook, Kind::Exec, Kind::Totp, Kind::Duo, Kind::PrivacyIdea, Kind::Sms, Kind::Ntfy];

    /// Its word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Exec => "exec",
            Kind::Totp => "totp",
            Kind::Duo => "duo",
            Kind::PrivacyIdea => "privacyidea",
            Kind::Ntfy => "ntfy",
            Kind::Sms => "sms",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str);
            format!("is none of \"{}\"{}", known.join("\", \""), near_miss(text, known))
        })
    }
}

/// What one kind needs to know.
pub enum FactorSettings {
    /// [`Kind::Webhook`].
    Webhook(WebhookFactor),
    /// [`Kind::Exec`].
    Exec(ExecFactor),
    /// [`Kind::Totp`]: the folder that holds one secret a person.
    Totp(PathBuf),
    /// [`Kind::Duo`].
    Duo(DuoFactor),
    /// [`Kind::PrivacyIdea`].
    PrivacyIdea(PrivacyIdeaFactor),
    /// [`Kind::Ntfy`].
    Ntfy(NtfyFactor),
    /// [`Kind::Sms`].
    Sms(Box<SmsFactor>),
}

impl FactorSettings {
    /// What wants to be called back, if it does.
    pub(super) fn called_back(&self) -> Option<&Place> {
        match self {
            Self::Webhook(hook) => hook.callback.as_ref(),
            Self::Ntfy(ntfy) => Some(&ntfy.place),
            Self::Exec(_) | Self::Totp(_) | Self::Duo(_) | Self::PrivacyIdea(_) | Self::Sms(_) => None,
        }
    }

    /// How long a question stays open where the provider has a time of its own, and where that stands.
    pub fn lasts(&self) -> Option<&At<Duration>> {
        match self {
            Self::Sms(sms) => Some(&sms.lasts),
            Self::Webhook(_)
            | Self::Exec(_)
            | Self::Totp(_)
            | Self::Duo(_)
            | Self::PrivacyIdea(_)
            | Self::Ntfy(_) => None,
        }
    }
}

/// The webhook provider's settings.
pub struct WebhookFactor {
    /// Where questions are posted.
    pub url: String,
    /// Where their state is asked for, if answers do not come with the reply.
    pub status_url: Option<String>,
    /// The HMAC key.
    pub secret: Secret,
    /// A CA file, PEM, beside the system's.
    pub ca: Option<PathBuf>,
    /// Replies must be signed too; on unless the file says otherwise.
    pub verify_replies: bool,
    /// Answers may come by callback, says this place.
    pub callback: Option<Place>,
}

/// The ntfy provider's settings.
pub struct NtfyFactor {
    /// The server's root.
    pub url: url::Url,
    /// Its access token.
    pub token: Option<Secret>,
    /// Where a person's phone reads.
    pub topic: Topic,
    /// Is the number typed on the phone, rather than only shown there?
    pub typed: bool,
    /// 1 to 5.
    pub priority: u8,
    /// A CA file, PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// An HTTP proxy.
    pub proxy: Option<String>,
    place: Place,
}

/// `[second_factor.callback]`: where phones and providers answer.
pub struct CallbackListener {
    /// Bound there.
    pub listen: SocketAddr,
    /// Its root, as phones and providers reach it.
    pub url: url::Url,
    /// Its certificate with the chain, and the key, as PEM; without them plain HTTP.
    pub tls: Option<(String, Secret)>,
}

/// The exec provider's settings.
pub struct ExecFactor {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// Programs at once.
    pub at_once: usize,
}

/// `[second_factor]` of one file: what it names, and what it leaves to the gateway's.
#[derive(Default)]
pub struct Factors {
    /// Asked first.
    pub provider: Option<Kind>,
    /// May be chosen instead.
    pub second: Option<Kind>,
    /// Is a person asked which way they want before anything rings?
    pub menu: Option<bool>,
    /// The providers of which this file holds settings.
    pub settings: BTreeMap<Kind, FactorSettings>,
    /// Those whose settings stand there, but wrong: that has been said.
    pub(super) broken: BTreeSet<Kind>,
}

impl Factors {
    /// Does the file set this kind up, right or wrong?
    pub(super) fn sets_up(&self, kind: Kind) -> bool {
        self.settings.contains_key(&kind) || self.broken.contains(&kind)
    }

    /// Reads the tables of all kinds, and which are asked. Names of kinds without settings are given back with their place,
    /// for whoever knows where else to look.
    pub(super) fn read(
        folder: &Folder,
        table: &mut Table<'_, '_>,
        problems: &mut Problems,
    ) -> (Self, Vec<At<Kind>>) {
        let (provider, second) = (kind(table, "provider", problems), kind(table, "second", problems));
        let menu = table.flag("menu", problems);
        let mut settings = BTreeMap::new();
        for kind in Kind::ALL {
            let Some(below) = table.table(kind.as_str(), problems) else { continue };
            let read = match kind {
                Kind::Webhook => webhook(folder, below, problems).map(FactorSettings::Webhook),
                Kind::Exec => exec(below, problems).map(FactorSettings::Exec),
                Kind::Totp => Some(FactorSettings::Totp(totp(folder, Some(below), problems))),
                Kind::Duo => duo::read(folder, below, problems).map(FactorSettings::Duo),
                Kind::PrivacyIdea => {
                    privacyidea::read(folder, below, problems).map(FactorSettings::PrivacyIdea)
                }
                Kind::Ntfy => ntfy(folder, below, problems).map(FactorSettings::Ntfy),
                Kind::Sms => sms::sms(folder, below, problems).map(|sms| FactorSettings::Sms(Box::new(sms))),
            };
            // What is wrong with it has been said: it is not missing.
            settings.insert(kind, read);
        }
        let first = provider.as_ref().map(|provider| provider.value);
        let other = second.as_ref().map(|second| second.value);
        let named = [provider, second].into_iter().flatten();
        let elsewhere = named.filter(|named| !settings.contains_key(&named.value)).collect();
        let broken = settings.iter().filter(|(_, read)| read.is_none()).map(|(kind, _)| *kind).collect();
        let settings = settings.into_iter().filter_map(|(kind, read)| Some((kind, read?))).collect();
        (Self { provider: first, second: other, menu, settings, broken }, elsewhere)
    }
}

/// The kind that stands at `key`.
pub(super) fn kind(
    table: &mut Table<'_, '_>,
    key: &'static str,
    problems: &mut Problems,
) -> Option<At<Kind>> {
    let At { value, place } = table.text(key, problems)?;
    match value.parse() {
        Ok(value) => Some(At { value, place }),
        Err(why) => {
            problems.add(place, format!("{key}: \"{}\" {why}", value.escape_debug()));
            None
        }
    }
}

/// The gateway's own: it names a provider, and how long a question stays open.
pub(super) fn of_gateway(
    folder: &Folder,
    root: &mut Table<'_, '_>,
    problems: &mut Problems,
) -> Option<(Factors, At<Duration>, Option<CallbackListener>)> {
    let Some(mut table) = root.table("second_factor", problems) else {
        root.missing_table("second_factor", root.place());
        return None;
    };
    let range = (Duration::from_secs(1), Duration::from_mins(5));
    let timeout = table.duration_within("timeout", range, problems);
    let timeout = timeout.unwrap_or_else(|| At { value: Duration::from_mins(1), place: table.place() });
    if !table.holds("provider") {
        table.missing("provider");
    }
    let (mut factors, elsewhere) = Factors::read(folder, &mut table, problems);
    for At { value: kind, place } in elsewhere {
        if kind == Kind::Totp {
            factors.settings.insert(kind, FactorSettings::Totp(totp(folder, None, problems)));
        } else {
            table.missing_table(kind.as_str(), place);
        }
    }
    let hub = table.table("callback", problems).map(|below| callback(folder, below, problems));
    table.finish(problems);
    factors.provider?;
    if hub.is_none() {
        factors.without_callback(problems);
    }
    // Wrong is not missing: nobody who needs it complains too.
    let hub = hub.map_or(Some(None), |hub| hub.map(Some))?;
    Some((factors, timeout, hub))
}

impl Factors {
    /// Nowhere to be called back: who needs that is told.
    pub(super) fn without_callback(&self, problems: &mut Problems) {
        for (kind, settings) in &self.settings {
            if let Some(place) = settings.called_back() {
                let message = format!(
                    "[second_factor.{kind}] needs the table [second_factor.callback] in policy/gateway.toml"
                );
                problems.add(place.clone(), message);
            }
        }
    }
}

/// The root of a server of ours or theirs: https, or http to this machine, and no path.
fn root_url(table: &mut Table<'_, '_>, problems: &mut Problems) -> Option<url::Url> {
    let At { value: url, place } = table.required::<url::Url>("url", problems)?;
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && here) {
        problems.add(place, "url: expected https://HOST; http is for this machine alone");
        return None;
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        problems.add(place, "url: expected https://HOST or https://HOST:PORT and nothing behind it");
        return None;
    }
    Some(url)
}

fn callback(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<CallbackListener> {
    let listen = table.required::<SocketAddr>("listen", problems);
    let url = root_url(&mut table, problems);
    let certificate = table.parsed::<PathBuf>("certificate", problems);
    let key = table.parsed::<PathBuf>("key", problems);
    for (there, missing) in [(certificate.is_some(), "key"), (key.is_some(), "certificate")] {
        if there && !table.holds(missing) {
            table.missing(missing);
        }
    }
    table.finish(problems);
    let tls = certificate.zip(key).map(|(certificate, key)| {
        let chain = folder.read(&certificate.value, Readable::ByAll, Some(&certificate.place), problems);
        let key = folder.read(&key.value, Readable::ByOwner, Some(&key.place), problems).map(Secret::new);
        chain.zip(key)
    });
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    Some(CallbackListener { listen: listen?.value, url: url?, tls })
}

fn ntfy(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<NtfyFactor> {
    let place = table.place();
    let url = root_url(&mut table, problems);
    let token = folder.secret(&mut table, "token", problems);
    let topic = table.parsed::<Topic>("topic", problems).map(|topic| topic.value).unwrap_or_default();
    let typed = table.one_of("number", &[("typed", true), ("shown", false)], problems).unwrap_or(true);
    let priority = table.number("priority", 1..6, problems).and_then(|n| u8::try_from(n).ok()).unwrap_or(4);
    let ca = table.parsed::<PathBuf>("ca", problems).map(|p| folder.path(p.value));
    let proxy = table.parsed::<url::Url>("proxy", problems).map(|p| p.value.to_string());
    table.finish(problems);
    Some(NtfyFactor { url: url?, token, topic, typed, priority, ca, proxy, place })
}

/// A question that outlives the login is one that nobody can answer.
pub(super) fn ends_before_the_login(factors: &Factors, grace: Duration, problems: &mut Problems) {
    for (kind, settings) in &factors.settings {
        let Some(At { value: lasts, place }) = settings.lasts() else { continue };
        if *lasts >= grace {
            let message = format!(
                "second_factor.{kind}.lasts ({}) must be shorter than limits.factor_grace ({}): \
                 the login would end before the question does",
                Written(*lasts),
                Written(grace)
            );
            problems.add(place.clone(), message);
        }
    }
}

/// A provider that is named, but set up nowhere.
pub(super) fn nowhere(kind: Kind, place: Place, problems: &mut Problems) {
    let message =
        format!("provider \"{kind}\" needs the table [second_factor.{kind}], here or in policy/gateway.toml");
    problems.add(place, message);
}

/// The folder of the secrets; `secrets/totp` unless the file says otherwise.
fn totp(folder: &Folder, table: Option<Table<'_, '_>>, problems: &mut Problems) -> PathBuf {
    let secrets = table.and_then(|mut table| {
        let secrets = table.parsed::<PathBuf>("secrets", problems).map(|p| p.value);
        table.finish(problems);
        secrets
    });
    folder.path(secrets.unwrap_or_else(|| "secrets/totp".into()))
}

fn webhook(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<WebhookFactor> {
    let url = table.required::<url::Url>("url", problems);
    let status_url = table.parsed::<url::Url>("status_url", problems).map(|u| u.value.to_string());
    let secret = folder.secret(&mut table, "secret", problems);
    if !table.holds("secret") {
        table.missing("secret");
    }
    let ca = table.parsed::<PathBuf>("ca", problems).map(|p| folder.path(p.value));
    let verify_replies = table.flag("verify_replies", problems).unwrap_or(true);
    let place = table.place();
    let callback = table.flag("callback", problems).unwrap_or(false).then(|| place.clone());
    table.finish(problems);
    let url = url?;
    if !verify_replies && url.value.scheme() != "https" {
        problems.add(place, "verify_replies = false needs an https url");
    }
    Some(WebhookFactor {
        url: url.value.to_string(),
        status_url,
        secret: secret?,
        ca,
        verify_replies,
        callback,
    })
}

fn exec(mut table: Table<'_, '_>, problems: &mut Problems) -> Option<ExecFactor> {
    let command = table.required_list::<String>("command", problems);
    let at_once =
        table.number("at_once", 1..1001, problems).and_then(|n| usize::try_from(n).ok()).unwrap_or(16);
    table.finish(problems);
    let command: Vec<String> = command.into_iter().map(|c| c.value).collect();
    (!command.is_empty()).then_some(ExecFactor { command, at_once })
}
