//! One provider out of its settings.
//! Absent on purpose: dialling, but for what looks in the background whether a far one is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::Parts;
use crate::config::{
    DuoFactor, DuoSignature, FactorSettings, NtfyFactor, PrivacyIdeaFactor, PrivacyIdeaService, SmsBy,
    SmsFactor, WebhookFactor,
};
use crate::factor::callback::Callbacks;
use crate::factor::duo::{Duo, DuoConfig, Signature};
use crate::factor::exec::{Exec, ExecConfig};
use crate::factor::ntfy::{Match, Ntfy, NtfyConfig};
use crate::factor::privacyidea::{PrivacyIdea, PrivacyIdeaConfig, Service};
use crate::factor::sms::{Bounds, Gateway, Sms, SmsConfig};
use crate::factor::totp::{StorageError, Totp, UsedSteps};
use crate::factor::webhook::{Webhook, WebhookConfig};
use crate::factor::{Provider, Rings, Typed};
use crate::names::Username;
use crate::state::State;

/// Used TOTP steps, kept in the state.
struct KeptSteps(State);

#[async_trait::async_trait]
impl UsedSteps for KeptSteps {
    async fn use_step(&self, user: &Username, step: u64) -> Result<bool, StorageError> {
        self.0.use_totp_step(user, step).await.map_err(|e| StorageError(e.to_string()))
    }
}

/// What all providers are told alike.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    pub(super) timeout: Duration,
    pub(super) german: bool,
}

pub(super) async fn provider(
    settings: &FactorSettings,
    asking: Asking,
    parts: &Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match settings {
        FactorSettings::Totp(folder) => totp(folder.clone(), parts),
        FactorSettings::Exec(exec) => {
            let (timeout, at_once) = (asking.timeout, exec.at_once);
            let config = ExecConfig { timeout, at_once, ..ExecConfig::new(exec.command.clone()) };
            Arc::new(Rings(Arc::new(Exec::new(config, parts.clock.clone())?)))
        }
        FactorSettings::Webhook(hook) => webhook(hook, asking, parts).await?,
        FactorSettings::Duo(settings) => duo(settings, asking, parts).await?,
        FactorSettings::PrivacyIdea(settings) => privacyidea(settings, asking, parts).await?,
        FactorSettings::Sms(settings) => sms(settings, asking, parts).await?,
        FactorSettings::Ntfy(settings) => ntfy(settings, asking, parts).await?,
    })
}

pub(super) fn totp(folder: PathBuf, parts: &Parts<'_>) -> Arc<dyn Provider> {
    let steps = Arc::new(KeptSteps(parts.state.clone()));
    Arc::new(Typed(Arc::new(Totp::new(folder, steps)), parts.clock.clone()))
}

/// A file of certificates or a key, if the settings name one.
async fn pem(file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    tokio::fs::read(file).await.map(Some).with_context(|| format!("{}", file.display()))
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
    config.ca_pem = pem(hook.ca.as_deref()).await?;
    if hook.callback.is_some() {
        config.callbacks = Some(called_back(parts)?);
    }
    Ok(Arc::new(Rings(Arc::new(Webhook::new(config, parts.clock.clone())?))))
}

async fn duo(settings: &DuoFactor, asking: Asking, parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Provider>> {
    let mut config = DuoConfig::new(settings.host.clone(), settings.ikey.clone(), settings.skey.clone());
    config.timeout = asking.timeout;
    config.proxy.clone_from(&settings.proxy);
    config.device.clone_from(&settings.device);
    config.bypass = settings.bypass;
    config.signature = match settings.signature {
        DuoSignature::V5 => Signature::V5,
        DuoSignature::V2 => Signature::V2,
    };
    config.ca_pem = pem(settings.ca.as_deref()).await?;
    let duo = Arc::new(Duo::new(config, parts.clock.clone())?);
    let (checked, host) = (duo.clone(), settings.host.clone());
    // Ends by itself within its own time-outs.
    tokio::spawn(async move {
        match checked.check().await {
            Ok(()) => tracing::info!("duo at {host}: answers, and takes our keys"),
            Err(cause) => {
                tracing::error!("duo at {host}: {cause}; nobody can confirm by it until that is mended");
            }
        }
    });
    Ok(duo)
}

async fn privacyidea(
    settings: &PrivacyIdeaFactor,
    asking: Asking,
    parts: &Parts<'_>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let service = match &settings.service {
        PrivacyIdeaService::Token(token) => Service::Token(token.clone()),
        PrivacyIdeaService::User(user, password) => Service::User(user.clone(), password.clone()),
    };
    let config = PrivacyIdeaConfig {
        realm: settings.realm.clone(),
        ca_pem: pem(settings.ca.as_deref()).await?,
        proxy: settings.proxy.clone(),
        verify_pem: pem(settings.verify.as_deref()).await?,
        timeout: asking.timeout,
        ..PrivacyIdeaConfig::new(settings.url.parse()?, service)
    };
    Ok(Arc::new(PrivacyIdea::new(config, parts.clock.clone())?))
}

async fn sms(settings: &SmsFactor, asking: Asking, parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Provider>> {
    let gateway = match &settings.by {
        SmsBy::Exec(command) => Gateway::Exec { command: command.clone() },
        SmsBy::Http { request, ca, proxy } => {
            let ca_pem = pem(ca.as_deref()).await?;
            Gateway::Http { request: request.clone(), ca_pem, proxy: proxy.clone() }
        }
    };
    let config = SmsConfig {
        gateway,
        sender: settings.sender.clone(),
        user: settings.user.clone(),
        secret: settings.secret.clone(),
        lasts: settings.lasts.value,
        german: asking.german,
        bounds: Bounds::default(),
    };
    Ok(Arc::new(Sms::new(config, parts.clock.clone(), parts.random.clone())?))
}

async fn ntfy(settings: &NtfyFactor, asking: Asking, parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Provider>> {
    let config = NtfyConfig {
        token: settings.token.clone(),
        number: if settings.typed { Match::Typed } else { Match::Shown },
        priority: settings.priority,
        ca_pem: pem(settings.ca.as_deref()).await?,
        proxy: settings.proxy.clone(),
        german: asking.german,
        timeout: asking.timeout,
        ..NtfyConfig::new(settings.url.clone(), settings.topic.clone(), called_back(parts)?)
    };
    Ok(Arc::new(Ntfy::new(config, parts.clock.clone())?))
}
