//! The second factors as the files set them up: each provider built once, and who confirms by which.
//! Absent on purpose: asking.

mod providers;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{CallbackListener, Config, FactorOf, Kind, Language};
use crate::factor::callback::{Callbacks, Tls};
use crate::factor::{Contact, Directory, Provider, Providers};
use crate::names::{Firm, Username};
use crate::random::Random;
use crate::state::State;
use providers::{Asking, provider, totp};

/// What providers are built with.
pub struct Parts<'a> {
    /// What must outlive a restart.
    pub state: &'a State,
    /// The time.
    pub clock: &'a Clock,
    /// Where codes come from.
    pub random: &'a Random,
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

/// Builds all providers that the files name. Nothing is waited for: starting does not depend on who is up.
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
    if let Entry::Vacant(entry) = built.entry((None, Kind::Totp)) {
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
