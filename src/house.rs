//! Builds the house out of its files, keeps it in step with them, and takes it down in order.
//! Absent on purpose: any decision. Parts are built here and handed down.

mod boxes;
mod factors;
mod listeners;
mod nameplate;
mod pins;
mod relays;
mod shared;
mod told;
mod uplinks;
pub mod watch;

pub use nameplate::Nameplate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use russh::keys::PrivateKey;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::commands::{Jobs, Works};
use crate::config::{Config, Folder, Problems, Readable, Unread, read_guarded};
use crate::control::Control;
use crate::factor::callback::Callbacks;
use crate::front::{Doorkeeper, Front, Registry, Strangers};
use crate::gate::Gate;
use crate::hops::Hosts;
use crate::identity::keys::KeyBook;
use crate::identity::orders::Orders;
use crate::identity::second_factor::SecondFactor;
use crate::journal::{Entry, Event, Journal, Options};
use crate::konnektor::Profiles;
use crate::notify::Notifier;
use crate::policy::{self, Policy};
use crate::random::Random;
use crate::recording::Recordings;
use crate::relay::Relays;
use crate::schedule::{Plan, Scheduler};
use crate::state::State;
use crate::vault::{self, Vault};

/// Everything that stands in files, checked.
pub struct Loaded {
    /// `policy/gateway.toml` and `policy/sites/`.
    pub config: Config,
    /// `keys/`.
    pub keys: KeyBook,
    /// `policy/rules.toml`.
    pub policy: Policy,
    /// What is known of each make of Konnektor: what this build ships, or `policy/konnektor/`.
    pub profiles: Profiles,
    /// What the files looked like before they were read.
    pub look: watch::Look,
}

/// Reads all of it. On failure: every problem of every file.
pub fn load(dir: &Path) -> Result<Loaded, Problems> {
    let look = watch::Look::at(dir);
    let folder = Folder::new(dir);
    let mut problems = Problems::default();
    let config = Config::load(&folder, &mut problems);
    let keys = KeyBook::load(&folder, &mut problems);
    let policy = config.as_ref().map(|config| policy::parse::load(&folder, config, &mut problems));
    let profiles = boxes::profiles(&folder, &mut problems);
    match (config, policy, profiles) {
        (Some(config), Some(policy), Some(profiles)) if problems.0.is_empty() => {
            Ok(Loaded { config, keys, policy, profiles, look })
        }
        _ => {
            problems.0.sort_by(|a, b| {
                (&a.place.file, a.place.line, a.place.column).cmp(&(
                    &b.place.file,
                    b.place.line,
                    b.place.column,
                ))
            });
            Err(problems)
        }
    }
}

/// Reports of fraud that wait to be told.
const ALARMS: usize = 256;

/// A running gateway.
pub struct House {
    front: Arc<Front>,
    dir: PathBuf,
    addresses: Vec<SocketAddr>,
    journal: Journal,
    state: State,
    stop: CancellationToken,
    doors: Vec<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
    schedule: Scheduler,
    notices: Notifier,
    nameplate: Nameplate,
    /// Where providers are called back; bound once.
    callbacks: Option<Callbacks>,
    /// Heard from the start on: a SIGHUP before somebody listens would end the process, a change would be missed.
    changes: tokio::sync::Mutex<watch::Changes>,
}

impl House {
    /// Opens the storage, binds the listeners, lets people in. Nothing is bound if anything is wrong.
    #[expect(clippy::too_many_lines, reason = "one part after the other, each built once and handed down")]
    pub async fn open(dir: &Path, loaded: Loaded, clock: Clock, random: Random) -> anyhow::Result<Self> {
        choose_tls_provider();
        let Loaded { config, keys, policy, profiles, look } = loaded;
        let changes = watch::Changes::since(dir, look).into();
        let gateway = &config.gateway;
        let storage = &gateway.storage;
        let host_key = private_key(&dir.join(&storage.host_key), "host key")?;
        let authorities = Arc::new(nameplate::open(dir, storage, host_key, &random)?);
        let journal_key = private_key(&dir.join(&storage.journal_key), "journal key")?;
        let identities =
            vault::read_identities(&dir.join(&storage.vault_identity)).context("the vault's key file")?;
        let recipients = relays::recipients(&identities, &gateway.recipients)?;
        let vault_url = format!("file:{}", storage.vault.display());
        vault::sweep(&dir.join(&storage.vault)).context("the vault")?;
        let recordings =
            Recordings::open(&dir.join(&storage.recordings), recipients.clone(), Vec::new(), clock.clone())
                .context("the recordings")?;
        let vault = Vault::open(&vault_url, dir, recipients, identities).context("the vault")?;
        let (state, others) = shared::state(dir, storage, &clock).await?;
        let journal =
            Journal::open(&dir.join(&storage.journal), journal_key, clock.clone(), Options::default())
                .await?;
        let control = Control::bind(&dir.join(&storage.control), &gateway.control_group)
            .await
            .context("the operator's socket")?;
        let mut helpers = Vec::new();
        let (alarm, alarms) = tokio::sync::mpsc::channel(ALARMS);
        let callbacks = match &gateway.callback {
            Some(listener) => {
                let bound = factors::callbacks(listener, (&clock, &random)).await;
                let (callbacks, serving) = bound.context("[second_factor.callback]")?;
                helpers.push(serving);
                Some(callbacks)
            }
            None => None,
        };
        let parts =
            &factors::Parts { state: &state, clock: &clock, random: &random, callbacks: callbacks.as_ref() };
        let directory = factors::build(&config, parts).await?;
        let factor = {
            let (timeout, clock, random) = (gateway.factor_timeout, clock.clone(), random.clone());
            SecondFactor::new(directory, timeout, clock, random, alarm)
        };
        shared::remembered(&state, &factor).await?;
        let people = gateway.users.clone();
        let keeper = Doorkeeper::new(gateway.limits.clone(), clock.clone());
        for penalty in state.penalties(clock.now()).await? {
            keeper.remember(&penalty.source, &penalty.key, penalty.until);
        }
        let (listeners, addresses) = listeners::bound(&gateway.listen)?;
        let (nameplate, ssh) = Nameplate::new(authorities, &gateway.reached_at(&addresses), clock.now());
        let language = gateway.language;
        let (rules, known) = boxes::rules(policy, &config.sites)?;
        let gate = Arc::new(Gate::new(rules, journal.clone(), clock.clone()));
        let pins = Arc::new(pins::LearnedPins::new(state.clone(), journal.clone()));
        let konnektors = boxes::konnektors(known, vault, pins, profiles);
        let jobs = Jobs::open(state.clone()).await?;
        let orders = Arc::new(Orders::open(state.clone(), clock.clone()).await?);
        let (gate_too, state_too) = (gate.clone(), state.clone());
        let stop = CancellationToken::new();
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let (uplinks, following) = uplinks::begin(&uplinks::Around {
            keys: &keys,
            gate: &gate,
            journal: &journal,
            clock: &clock,
            random: &random,
            authorities: nameplate.authorities(),
            limits: &config.gateway.limits,
            stop: &stop,
        })?;
        helpers.extend(following);
        // Just made: nobody has set it.
        konnektors.links.set(uplinks.clone()).ok();
        let works = Arc::new(Works {
            gate: gate_too,
            konnektors,
            jobs,
            state: state_too,
            orders,
            uplinks: uplinks.clone(),
            random: random.clone(),
            clock: clock.clone(),
        });
        let target = told::notices(gateway.notify.as_ref()).await?;
        let (notices, posting) = Notifier::new(journal.clone(), clock.clone(), target);
        helpers.push(posting);
        let holder = format!("{:032x}", random.draw());
        let schedule = Scheduler::start(works.clone(), notices.clone(), &config, holder, stop.child_token());
        let (contact, proxies) = (gateway.contact.clone(), gateway.proxies.clone());
        let factor = Arc::new(ArcSwap::from_pointee(factor));
        let login =
            relays::login(&dir.join(&storage.target_key), nameplate.authorities(), &clock, &state, &journal)?;
        let idle = gateway.limits.idle;
        let hosts = Arc::new(Hosts::of(config, uplinks.clone()));
        let relays = Relays {
            hosts: hosts.clone(),
            gate: gate.clone(),
            journal: journal.clone(),
            keys: keys.clone(),
            factor: factor.clone(),
            clock: clock.clone(),
            login,
            recordings,
            live: Arc::default(),
            language,
            idle,
        };
        let front = Arc::new(Front {
            keys: keys.clone(),
            people: ArcSwap::from_pointee(people),
            factor: factor.clone(),
            gate: gate.clone(),
            works,
            files: crate::front::Bounds::default(),
            hosts,
            relays: Arc::new(relays),
            authorities: nameplate.authorities().clone(),
            journal: journal.clone(),
            keeper,
            registry: Registry::default(),
            clock,
            random,
            language,
            state: state.clone(),
            strangers: Strangers::default(),
            panics: 0.into(),
            stop: stop.clone(),
            contact,
            proxies,
            ssh: ArcSwap::new(ssh),
            uplinks,
        });
        let mut doors: Vec<JoinHandle<()>> =
            listeners.into_iter().map(|l| tokio::spawn(front.clone().listen(l))).collect();
        doors.push(tokio::spawn(control.serve(front.clone(), stop.child_token())));
        helpers.push(tokio::spawn(shared::followed(others, front.clone())));
        helpers.push(tokio::spawn(told::alarmed(alarms, front.clone(), notices.clone())));
        let dir = dir.to_owned();
        let house = Self {
            front,
            dir,
            addresses,
            journal,
            state,
            stop,
            doors,
            helpers,
            schedule,
            notices,
            nameplate,
            callbacks,
            changes,
        };
        house.loaded("the configuration was loaded").await;
        Ok(house)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The door, for tests that count.
    pub fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// What runs by itself, for tests that set the clock.
    pub fn schedule(&self) -> &Scheduler {
        &self.schedule
    }

    /// What it shows of itself, and who vouches for it.
    pub fn nameplate(&self) -> &Nameplate {
        &self.nameplate
    }

    async fn loaded(&self, what: &str) {
        let line = Entry {
            target: Some("configuration".into()),
            cause: Some(what.into()),
            ..Entry::new(Event::Loaded)
        };
        if let Err(e) = self.journal.append(line).await {
            tracing::error!("a change of the configuration could not be journalled: {e}");
        }
    }

    /// Reads all files again. A bad change is journalled and the old state stays.
    /// Listeners, storage and limits change at the next start only.
    pub async fn reload(&self) -> Result<(), Problems> {
        let dir = self.dir.clone();
        let read = tokio::task::spawn_blocking(move || load(&dir)).await;
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(e) => {
                tracing::error!("reload: {e}");
                return Ok(());
            }
        };
        let changed = loaded.and_then(|loaded| {
            let Loaded { config, keys, policy, profiles, .. } = loaded;
            let (rules, known) = boxes::rules(policy, &config.sites).map_err(|e| {
                let mut problems = Problems::default();
                problems.add(crate::config::Place::file(Path::new("policy/sites")), format!("{e:#}"));
                problems
            })?;
            Ok((rules, known, profiles, keys, config))
        });
        match changed {
            Ok((rules, known, profiles, keys, config)) => {
                self.front.keys.store(Arc::new(keys));
                let reached_at = config.gateway.reached_at(&self.addresses);
                if let Some(ssh) = self.nameplate.renamed(&reached_at, self.front.clock.now()) {
                    self.front.ssh.store(ssh);
                }
                self.front.people.store(Arc::new(config.gateway.users.clone()));
                match told::notices(config.gateway.notify.as_ref()).await {
                    Ok(target) => self.notices.change(target),
                    Err(e) => tracing::error!("the old [notify] stays: {e:#}"),
                }
                self.change_factors(&config).await;
                let plan = Plan::of(&config);
                self.front.hosts.change(config);
                self.front.works.konnektors.known.store(Arc::new(known));
                self.front.works.konnektors.profiles.store(Arc::new(profiles));
                self.front.gate.change(rules);
                self.schedule.change(plan);
                self.front.recheck();
                self.loaded("the configuration was loaded again").await;
                Ok(())
            }
            Err(problems) => {
                // The place alone: what stands there may be a secret in the wrong place.
                let first = problems.0.first().map(|p| p.place.to_string()).unwrap_or_default();
                self.loaded(&format!("a change was refused, the old configuration stays: {first}")).await;
                self.remove_keys(&problems).await;
                Err(problems)
            }
        }
    }

    /// From the next question on, people are asked as the files say now.
    async fn change_factors(&self, config: &Config) {
        let front = &self.front;
        let callbacks = self.callbacks.as_ref();
        if callbacks.map(Callbacks::url) != config.gateway.callback.as_ref().map(|listener| &listener.url) {
            tracing::warn!("[second_factor.callback] was changed: that counts from the next start on");
        }
        let (clock, random) = (&front.clock, &front.random);
        let parts = &factors::Parts { state: &self.state, clock, random, callbacks };
        match factors::build(config, parts).await {
            Ok(directory) => {
                let timeout = config.gateway.factor_timeout;
                front.factor.store(Arc::new(front.factor.load().changed(directory, timeout)));
            }
            Err(e) => tracing::error!("the old second factors stay: {e:#}"),
        }
    }

    /// A mistake anywhere must not keep a key that was taken away: removals count, all else waits for the mistake's end.
    async fn remove_keys(&self, problems: &Problems) {
        let broken = problems.0.iter().map(|problem| problem.place.file.clone()).collect();
        let (dir, running) = (self.dir.clone(), self.front.keys.load_full());
        let left =
            tokio::task::spawn_blocking(move || running.only_removals(&Folder::new(&dir), &broken)).await;
        match left {
            Ok(Some(left)) => {
                self.front.keys.store(Arc::new(left));
                self.front.recheck();
                self.loaded("keys were removed all the same").await;
            }
            Ok(None) => {}
            Err(e) => tracing::error!("keys: {e}"),
        }
    }

    /// Runs until `until` is over, following changes of the files, then closes in order.
    pub async fn run(mut self, until: impl Future<Output = ()>) {
        self.follow(until).await;
        self.close().await;
    }

    /// Follows changes of the files, and ends what a removed or expired key has opened, until `until` is over.
    pub async fn follow(&self, until: impl Future<Output = ()>) {
        let mut changes = self.changes.lock().await;
        tokio::pin!(until);
        let mut second = tokio::time::interval(std::time::Duration::from_millis(500));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut until => return,
                () = changes.next() => {
                    if let Err(problems) = self.reload().await {
                        tracing::error!("the change is refused, the old configuration stays:\n{problems}");
                    }
                }
                _ = second.tick() => {
                    self.front.recheck();
                    if let Some(ssh) = self.nameplate.renewed(self.front.clock.now()) {
                        self.front.ssh.store(ssh);
                    }
                }
            }
        }
    }

    /// Lets nobody in any more, ends who is in, signs the journal's head.
    pub async fn close(&mut self) {
        self.stop.cancel();
        for door in self.doors.drain(..) {
            if let Err(e) = door.await {
                tracing::error!("a door: {e}");
            }
        }
        self.schedule.close().await;
        self.front.works.jobs.close().await;
        for helper in self.helpers.drain(..) {
            helper.abort();
        }
        if let Err(e) = self.state.close().await {
            tracing::warn!("state: {e}");
        }
        if let Err(e) = self.journal.close().await {
            tracing::error!("journal: {e}");
        }
    }
}

/// Listeners, and where they listen.
/// One TLS library for the whole process: aws-lc-rs.
pub fn choose_tls_provider() {
    // A second call finds it chosen already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
}

/// An Ed25519 private key that nobody else can read, write or replace.
pub fn private_key(path: &Path, what: &str) -> anyhow::Result<PrivateKey> {
    let read = || {
        let text = match read_guarded(path, Readable::ByOwner) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(Unread::Failed(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is none: run pforte init, or copy it there")
            }
            Err(e) => return Err(e.into()),
        };
        let key = PrivateKey::from_openssh(text.as_bytes()).context("no OpenSSH private key")?;
        if key.is_encrypted() {
            bail!("has a passphrase that nobody could type: ssh-keygen -p takes it off");
        }
        if key.algorithm() != ssh_key::Algorithm::Ed25519 {
            // No RSA private operation happens in this process (RUSTSEC-2023-0071).
            bail!("must be ssh-ed25519");
        }
        Ok(key)
    };
    read().with_context(|| format!("{what} {}", path.display()))
}

/// Ends at SIGINT or SIGTERM; both are heard from this call on, not from the first poll.
pub fn told_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| tracing::error!("a signal to stop is not heard: {e}")).ok();
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    async move {
        let heard = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        };
        tokio::select! {
            () = heard(&mut interrupt) => {}
            () = heard(&mut terminate) => {}
        }
    }
}
