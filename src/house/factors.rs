//! The second factors as the files set them up: each provider built once, and who confirms by which.
//! Absent on purpose: asking.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{
    CallbackListener, Config, FactorOf, FactorSettings, Kind, Language, NtfyFactor, WebhookFactor,
};
use crate::factor::callback::{Callbacks, Tls};
use crate::factor::exec::{Exec, ExecConfig};
use crate::factor::ntfy::{Match, Ntfy, NtfyConfig};
use crate::factor::totp::{StorageError, Totp, UsedSteps};
use crate::factor::webhook::{Webhook, WebhookConfig};
use crate::factor::{Contact, Directory, Provider, Providers, Rings, Typed};
use crate::names::{Firm, Username};
use crate::random::Random;
use crate::state::State;

/// Used TOTP steps, kept in the state.
struct KeptSteps(State);

#[async_trait::async_trait]
impl UsedSteps for KeptSteps {
    async fn use_step(&self, user: &Username, step: u64) -> Result<bool, StorageError> {
        self.0.use_totp_step(user, step).await.map_err(|e| StorageError(e.to_string()))
    }
}

/// What providers are built with.
pub struct Parts<'a> {
    /// What must outlive a restart.
    pub state: &'a State,
    /// The time.
    pub clock: &'a Clock,
    /// Where providers are called back, if that was bound at the start.
    pub callbacks: Option<&'a Callbacks>,
}

/// Binds the one listener for callbacks. It stays as it is until the next start, whatever the files say then.
pub async fn callbacks(
    listener: &CallbackListener,
    (clock, random): (&Clock, &Random),
) -> anyhow::Result<(Callbacks, JoinHandle<()>)> {
    let tls = listener.tls.as_ref().map(|(chain, key)| Tls::new(chain, key)).transpose()?;
    let random = random.clone();
    let callbacks = Callbacks::new(listener.url.clone(), move || random.draw(), clock.clone());
    let bound = TcpListener::bind(listener.listen).await;
    let bound = bound.with_context(|| format!("listen on {}", listener.listen))?;
    let serving = callbacks.clone().serve(bound, tls);
    let serving = tokio::spawn(async move {
        if let Err(e) = serving.await {
            tracing::error!("callbacks: {e}");
        }
    });
    Ok((callbacks, serving))
}

/// Who confirms by what; everybody else as the gateway's own file says.
struct Book {
    people: HashMap<Username, Providers>,
    firms: HashMap<Firm, Providers>,
    others: Providers,
}

impl Directory for Book {
    fn of(&self, user: &Username) -> Providers {
        let found = self.people.get(user).or_else(|| self.firms.get(&user.firm()));
        found.unwrap_or(&self.others).clone()
    }
}

/// Builds all providers that the files name. Nothing is dialled.
pub async fn build(config: &Config, parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Directory>> {
    let asking = Asking {
        timeout: config.gateway.factor_timeout,
        german: config.gateway.language == Language::German,
    };
    let mut built: HashMap<(Option<Firm>, Kind), Arc<dyn Provider>> = HashMap::new();
    let of_firms = config.firms.values().map(|firm| (Some(firm.firm.clone()), &firm.factor));
    for (firm, factors) in std::iter::once((None, &config.gateway.factor)).chain(of_firms) {
        for (kind, settings) in &factors.settings {
            let whose = firm
                .as_ref()
                .map_or_else(|| "policy/gateway.toml".into(), |f| format!("policy/firms/{f}.toml"));
            let provider = provider(settings, asking, parts).await;
            let provider = provider.with_context(|| format!("{whose}: [second_factor.{kind}]"))?;
            built.insert((firm.clone(), *kind), provider);
        }
    }
    // Codes need no settings.
    if let std::collections::hash_map::Entry::Vacant(entry) = built.entry((None, Kind::Totp)) {
        entry.insert(totp(config.totp_folder.clone(), parts));
    }
    let choose = |of: &FactorOf<'_>| -> anyhow::Result<Providers> {
        let get = |(firm, kind): (Option<&Firm>, Kind)| {
            built
                .get(&(firm.cloned(), kind))
                .cloned()
                .with_context(|| format!("[second_factor.{kind}] is missing"))
        };
        let contact = of
            .person
            .map(|person| Contact { external: person.external.clone(), phone: person.phone.clone() });
        Ok(Providers {
            first: get(of.first)?,
            second: of.second.map(get).transpose()?,
            contact: contact.unwrap_or_default(),
            menu: of.menu,
        })
    };
    let mut book =
        Book { people: HashMap::new(), firms: HashMap::new(), others: choose(&config.factor_of_firm(None))? };
    for firm in config.firms.values() {
        book.firms.insert(firm.firm.clone(), choose(&config.factor_of_firm(Some(firm)))?);
        for user in firm.people.keys() {
            book.people.insert(user.clone(), choose(&config.factor_of(user))?);
        }
    }
    Ok(Arc::new(book))
}

fn totp(folder: std::path::PathBuf, parts: &Parts<'_>) -> Arc<dyn Provider> {
    let steps = Arc::new(KeptSteps(parts.state.clone()));
    Arc::new(Typed(Arc::new(Totp::new(folder, steps)), parts.clock.clone()))
}

/// What all providers are told alike.
#[derive(Clone, Copy)]
struct Asking {
    timeout: Duration,
    german: bool,
}

async fn provider(
    settings: &FactorSettings,
    asking: Asking,
    parts: &Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match settings {
        FactorSettings::Totp(folder) => totp(folder.clone(), parts),
        FactorSettings::Exec(exec) => {
            let config = ExecConfig {
                timeout: asking.timeout,
                at_once: exec.at_once,
                ..ExecConfig::new(exec.command.clone())
            };
            Arc::new(Rings(Arc::new(Exec::new(config, parts.clock.clone())?)))
        }
        FactorSettings::Webhook(hook) => webhook(hook, asking, parts).await?,
        FactorSettings::Ntfy(settings) => ntfy(settings, asking, parts).await?,
    })
}

/// A CA file's content.
async fn ca(file: Option<&PathBuf>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    Ok(Some(tokio::fs::read(file).await.with_context(|| format!("{}", file.display()))?))
}

fn called_back(parts: &Parts<'_>) -> anyhow::Result<Callbacks> {
    parts.callbacks.cloned().context("[second_factor.callback] is bound at a start: restart the gateway")
}

async fn webhook(
    hook: &WebhookFactor,
    asking: Asking,
    parts: &Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let mut config = WebhookConfig::new(hook.url.parse()?, hook.secret.clone());
    config.timeout = asking.timeout;
    config.verify_replies = hook.verify_replies;
    config.status_url = hook.status_url.as_deref().map(str::parse).transpose()?;
    config.ca_pem = ca(hook.ca.as_ref()).await?;
    if hook.callback.is_some() {
        config.callbacks = Some(called_back(parts)?);
    }
    Ok(Arc::new(Rings(Arc::new(Webhook::new(config, parts.clock.clone())?))))
}

async fn ntfy(settings: &NtfyFactor, asking: Asking, parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Provider>> {
    let config = NtfyConfig {
        token: settings.token.clone(),
        number: if settings.typed { Match::Typed } else { Match::Shown },
        priority: settings.priority,
        ca_pem: ca(settings.ca.as_ref()).await?,
        proxy: settings.proxy.clone(),
        german: asking.german,
        timeout: asking.timeout,
        ..NtfyConfig::new(settings.url.clone(), settings.topic.clone(), called_back(parts)?)
    };
    Ok(Arc::new(Ntfy::new(config, parts.clock.clone())?))
}
