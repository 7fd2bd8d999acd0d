//! `[second_factor]`, of `policy/gateway.toml` and of a firm's file: which providers there are, and which one is asked.
//! Absent on purpose: asking.

mod sms;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::sms::{SmsBy, SmsFactor};
use super::files::Folder;
use super::problems::{Place, Problems, near_miss};
use super::reader::{At, Table, Written};
use crate::secret::Secret;

/// The kinds of providers. `[second_factor.KIND]` holds the settings of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An HTTP service that rings the phone.
    Webhook,
    /// A program that rings the phone.
    Exec,
    /// Codes by RFC 6238.
    Totp,
    /// Codes by SMS.
    Sms,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Webhook, Kind::Exec, Kind::Totp, Kind::Sms];

    /// Its word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Exec => "exec",
            Kind::Totp => "totp",
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
    /// [`Kind::Sms`].
    Sms(Box<SmsFactor>),
}

impl FactorSettings {
    /// How long a question stays open where the provider has a time of its own, and where that stands.
    pub fn lasts(&self) -> Option<&At<Duration>> {
        match self {
            Self::Sms(sms) => Some(&sms.lasts),
            Self::Webhook(_) | Self::Exec(_) | Self::Totp(_) => None,
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
    /// A listener for answers by callback.
    pub callback_listen: Option<SocketAddr>,
    /// The URL under which the provider reaches that listener.
    pub callback_url: Option<String>,
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
}

impl Factors {
    /// Reads the tables of all kinds, and which are asked. Names of kinds without settings are given back with their place,
    /// for whoever knows where else to look.
    pub(super) fn read(
        folder: &Folder,
        table: &mut Table<'_, '_>,
        problems: &mut Problems,
    ) -> (Self, Vec<At<Kind>>) {
        let mut kind = |key, problems: &mut Problems| table.parsed::<Kind>(key, problems);
        let (provider, second) = (kind("provider", problems), kind("second", problems));
        let menu = table.flag("menu", problems);
        let mut settings = BTreeMap::new();
        for kind in Kind::ALL {
            let Some(below) = table.table(kind.as_str(), problems) else { continue };
            let read = match kind {
                Kind::Webhook => webhook(folder, below, problems).map(FactorSettings::Webhook),
                Kind::Exec => exec(below, problems).map(FactorSettings::Exec),
                Kind::Totp => Some(FactorSettings::Totp(totp(folder, Some(below), problems))),
                Kind::Sms => sms::sms(folder, below, problems).map(|sms| FactorSettings::Sms(Box::new(sms))),
            };
            // What is wrong with it has been said: it is not missing.
            settings.insert(kind, read);
        }
        let first = provider.as_ref().map(|provider| provider.value);
        let other = second.as_ref().map(|second| second.value);
        let named = [provider, second].into_iter().flatten();
        let elsewhere = named.filter(|named| !settings.contains_key(&named.value)).collect();
        let settings = settings.into_iter().filter_map(|(kind, read)| Some((kind, read?))).collect();
        (Self { provider: first, second: other, menu, settings }, elsewhere)
    }
}

/// The gateway's own: it names a provider, and how long a question stays open.
pub(super) fn of_gateway(
    folder: &Folder,
    root: &mut Table<'_, '_>,
    problems: &mut Problems,
) -> Option<(Factors, At<Duration>)> {
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
    table.finish(problems);
    factors.provider?;
    Some((factors, timeout))
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
    let callback_listen = table.parsed::<SocketAddr>("callback_listen", problems).map(|l| l.value);
    let callback_url = table.parsed::<url::Url>("callback_url", problems).map(|u| u.value.to_string());
    let place = table.place();
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
        callback_listen,
        callback_url,
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
