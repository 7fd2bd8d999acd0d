//! The second factors as the files set them up: each provider built once, and who confirms by which.
//! Absent on purpose: asking.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, FactorOf, FactorSettings, Kind, Language, SmsBy, SmsFactor, WebhookFactor};
use crate::factor::exec::{Exec, ExecConfig};
use crate::factor::sms::{Bounds, Gateway, Sms, SmsConfig};
use crate::factor::totp::{StorageError, Totp, UsedSteps};
use crate::factor::webhook::{Callbacks, Webhook, WebhookConfig};
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
    /// Where codes come from.
    pub random: &'a Random,
    /// Listeners of providers that are called back run here.
    pub helpers: &'a mut Vec<JoinHandle<()>>,
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
pub async fn build(config: &Config, parts: &mut Parts<'_>) -> anyhow::Result<Arc<dyn Directory>> {
    let (timeout, language) = (config.gateway.factor_timeout, config.gateway.language);
    let mut built: HashMap<(Option<Firm>, Kind), Arc<dyn Provider>> = HashMap::new();
    let of_firms = config.firms.values().map(|firm| (Some(firm.firm.clone()), &firm.factor));
    for (firm, factors) in std::iter::once((None, &config.gateway.factor)).chain(of_firms) {
        for (kind, settings) in &factors.settings {
            let whose = firm
                .as_ref()
                .map_or_else(|| "policy/gateway.toml".into(), |f| format!("policy/firms/{f}.toml"));
            let provider = provider(settings, timeout, language, parts).await;
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

async fn provider(
    settings: &FactorSettings,
    timeout: Duration,
    language: Language,
    parts: &mut Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match settings {
        FactorSettings::Totp(folder) => totp(folder.clone(), parts),
        FactorSettings::Exec(exec) => {
            let config =
                ExecConfig { timeout, at_once: exec.at_once, ..ExecConfig::new(exec.command.clone()) };
            Arc::new(Rings(Arc::new(Exec::new(config, parts.clock.clone())?)))
        }
        FactorSettings::Sms(settings) => Arc::new(sms(settings, language, parts).await?),
        FactorSettings::Webhook(hook) => webhook(hook, timeout, parts).await?,
    })
}

async fn sms(settings: &SmsFactor, language: Language, parts: &Parts<'_>) -> anyhow::Result<Sms> {
    let gateway = match &settings.by {
        SmsBy::Exec(command) => Gateway::Exec { command: command.clone() },
        SmsBy::Http { request, ca, proxy } => {
            let ca_pem = match ca {
                Some(ca) => Some(tokio::fs::read(ca).await.with_context(|| format!("{}", ca.display()))?),
                None => None,
            };
            Gateway::Http { request: request.clone(), ca_pem, proxy: proxy.clone() }
        }
    };
    let config = SmsConfig {
        gateway,
        sender: settings.sender.clone(),
        user: settings.user.clone(),
        secret: settings.secret.clone(),
        lasts: settings.lasts.value,
        german: language == Language::German,
        bounds: Bounds::default(),
    };
    Ok(Sms::new(config, parts.clock.clone(), parts.random.clone())?)
}

async fn webhook(
    hook: &WebhookFactor,
    timeout: Duration,
    parts: &mut Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let mut config = WebhookConfig::new(hook.url.parse()?, hook.secret.clone());
    config.timeout = timeout;
    config.verify_replies = hook.verify_replies;
    config.status_url = hook.status_url.as_deref().map(str::parse).transpose()?;
    if let Some(ca) = &hook.ca {
        config.ca_pem = Some(tokio::fs::read(ca).await.with_context(|| format!("{}", ca.display()))?);
    }
    if let (Some(listen), Some(url)) = (hook.callback_listen, &hook.callback_url) {
        let callbacks = Callbacks::new(url.parse()?, &hook.secret, parts.clock.clone());
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("callback_listen {listen}"))?;
        config.callbacks = Some(callbacks.clone());
        parts.helpers.push(tokio::spawn(async move {
            if let Err(e) = callbacks.serve(listener).await {
                tracing::error!("callbacks: {e}");
            }
        }));
    }
    Ok(Arc::new(Rings(Arc::new(Webhook::new(config, parts.clock.clone())?))))
}
