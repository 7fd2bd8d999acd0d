//! One box, opened: found, its certificate known, its turn taken.
//! Absent on purpose: what is done at it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::arguments::{Firmware, Globals};
use super::pins::FilePins;
use super::place::{self, Guard, Lock, NoLock};
use super::record::Record;
use super::words::{Words, complain};
use super::{Person, Stop, password};
use crate::clock::Clock;
use crate::commands::spoken::{exit_code, said};
use crate::commands::{Ended, Out, exit};
use crate::config::Language;
use crate::konnektor::{self, Error, Konnektor, Pins, Product, Profile, Profiles, Spec, Timeouts};
use crate::names::{HostPort, KonnektorId};
use crate::secret::Secret;

/// A profile is a page of text.
const LARGEST_PROFILE: u64 = 4 * 1024 * 1024;
/// What is there before a box is.
pub(super) struct Room {
    pub(super) globals: Globals,
    /// Data on standard output.
    pub(super) out: Out,
    /// What people read of the way there: standard output too, unless a program reads that.
    pub(super) told: Out,
    pub(super) words: Words,
    pub(super) clock: Clock,
    pub(super) stop: Arc<Stop>,
    pub(super) person: Person,
}

/// A box, and the person at it.
pub(super) struct Seat {
    pub(super) room: Room,
    pub(super) driver: Arc<dyn Konnektor>,
    pub(super) product: Product,
    /// What its backups call it.
    pub(super) id: KonnektorId,
    /// As it is named to the person.
    pub(super) name: String,
    pub(super) pins: Arc<FilePins>,
    /// Where unfinished work is noted.
    pub(super) record: PathBuf,
    _lock: Lock,
}

impl Room {
    pub(super) fn german(&self) -> bool {
        self.words.language == Language::German
    }

    /// Says why not.
    pub(super) async fn no(&self, sentence: impl Into<String>, code: u32) -> Ended {
        said(&self.out, sentence.into(), code, String::new()).await
    }

    /// Minutes of the local time, for a file's name.
    pub(super) fn minute(&self) -> String {
        let local = self.clock.now().to_zoned(jiff::tz::TimeZone::system());
        local.strftime("%Y-%m-%d-%H-%M").to_string()
    }

    fn product(&self) -> Product {
        self.globals.product.product()
    }

    /// The profile of a make, or the file in its place.
    pub(super) async fn profiles(&self, product: Product) -> Result<Profiles, Ended> {
        let shipped = match Profiles::shipped() {
            Ok(shipped) => shipped,
            Err(e) => return Err(self.no(self.words.error(&e, None), exit::CONFIGURATION).await),
        };
        match self.own_profile().await? {
            Some(own) => Ok(shipped.with(product, own)),
            None => Ok(shipped),
        }
    }

    async fn own_profile(&self) -> Result<Option<Profile>, Ended> {
        let Some(file) = &self.globals.profile else { return Ok(None) };
        let read = place::guarded(file, Guard::Text, LARGEST_PROFILE);
        let sentence = match read.map(String::from_utf8) {
            Ok(Ok(text)) => match Profile::parse(&text) {
                Ok(profile) => return Ok(Some(profile)),
                Err(Error::BadProfile { what }) => format!("{}:{what}", file.display()),
                Err(e) => self.words.error(&e, None),
            },
            Ok(Err(_)) => format!("{}: UTF-8", file.display()),
            Err(e) => self.words.untaken(file, &e),
        };
        Err(self.no(sentence, exit::CONFIGURATION).await)
    }

    /// Opens the box; `unfinished`: what was begun there knows its make.
    pub(super) async fn open(self, unfinished: bool) -> Result<Seat, Ended> {
        let (host, port, user) = self.whom().await?;
        let (config, state) = self.folders().await?;
        let mut product = self.product();
        // Known before anybody types a password.
        self.own_profile().await?;
        let known = if unfinished { earlier(&state, &host, port, product) } else { None };
        if let Some((address, make)) = &known {
            product = *make;
            tracing::debug!("unfinished work at {address}");
        }
        let account = format!("{user}@{host}");
        let password = match password::find(&self.globals, &account, self.words).await {
            Ok(password) => password,
            Err((sentence, code)) => return Err(self.no(sentence, code).await),
        };
        let guessed = port.or_else(|| known.as_ref().map(|(address, _)| address.port()));
        let named = at(&host, guessed.unwrap_or_else(|| port_of(product)));
        let Some((mut address, first_id)) = named.and_then(|address| Some((address.clone(), id(&address)?)))
        else {
            let sentence = self.words.pick("-i: expected HOST[:PORT].", "-i: erwartet wird HOST[:PORT].");
            return Err(self.no(sentence, exit::USAGE).await);
        };
        let pins = Arc::new(self.pins(&config, &host, &address));
        let mut spec = self.spec(&address, first_id, user, password);
        if product == Product::Auto {
            let identity = konnektor::identify(&spec, Arc::clone(&pins) as Arc<dyn Pins>).await;
            product = match identity {
                Ok(identity) => identity.product(),
                Err(e) => return Err(self.failed(&e, &pins).await),
            };
            let own = if guessed.is_none() { at(&host, port_of(product)) } else { None };
            if let Some((own, id)) = own.and_then(|own| Some((own.clone(), id(&own)?))) {
                address = own;
                pins.is_at(&address);
                spec.address = address.clone();
                spec.id = id;
            }
        }
        spec.product = product;
        let lock = self.turn(&state, &address).await?;
        let profiles = self.profiles(product).await?;
        let id = spec.id.clone();
        let driver = match konnektor::open(spec, &profiles, Arc::clone(&pins) as Arc<dyn Pins>).await {
            Ok(driver) => driver,
            Err(e) => return Err(self.failed(&e, &pins).await),
        };
        let record = Record::path(&state, &address);
        Ok(Seat { name: address.to_string(), room: self, driver, product, id, pins, record, _lock: lock })
    }

    async fn whom(&self) -> Result<(String, Option<u16>, String), Ended> {
        let (Some(host), Some(user)) = (&self.globals.host, &self.globals.user) else {
            let sentence = self.words.pick(
                "Which Konnektor, and as whom? -i HOST[:PORT] -u USER",
                "Welcher Konnektor, und als wer? -i HOST[:PORT] -u BENUTZER",
            );
            return Err(self.no(sentence, exit::USAGE).await);
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return Ok((bare.to_owned(), None, user.clone()));
        }
        if let Ok(address) = host.parse::<HostPort>() {
            return Ok((address.host().to_owned(), Some(address.port()), user.clone()));
        }
        Ok((host.clone(), None, user.clone()))
    }

    async fn folders(&self) -> Result<(PathBuf, PathBuf), Ended> {
        let (Some(config), Some(state)) = (place::config(), place::state()) else {
            let sentence = self.words.pick(
                "HOME is not set, so there is no place for what has to be kept.",
                "HOME ist nicht gesetzt, also gibt es keinen Ort für das, was aufzuheben ist.",
            );
            return Err(self.no(sentence, exit::CONFIGURATION).await);
        };
        if let Err(e) = place::make(&state) {
            return Err(self.no(format!("{}: {e}", state.display()), exit::CONFIGURATION).await);
        }
        Ok((config, state))
    }

    fn pins(&self, config: &Path, host: &str, address: &HostPort) -> FilePins {
        let beside = at(host, 443).unwrap_or_else(|| address.clone());
        FilePins {
            file: config.join("konnektor-pins"),
            management: Mutex::new(address.clone()),
            directory: self.globals.sds.clone().unwrap_or(beside),
            named: self.globals.certificate.clone(),
            accept_new: self.globals.accept_new,
            words: self.words,
            declined: AtomicBool::new(false),
        }
    }

    fn spec(&self, address: &HostPort, id: KonnektorId, user: String, password: Secret) -> Spec {
        Spec {
            id,
            product: self.product(),
            address: address.clone(),
            sds_address: self.globals.sds.clone(),
            certificate: self.globals.certificate.first().copied(),
            user,
            password,
            parallel: Spec::PARALLEL,
            timeouts: Timeouts::default(),
        }
    }

    async fn turn(&self, state: &Path, address: &HostPort) -> Result<Lock, Ended> {
        let file = state.join(format!("konnektor-{}.lock", place::file_name(address)));
        match place::lock(&file) {
            Ok(lock) => Ok(lock),
            Err(NoLock::Held(pid)) => {
                let sentence = match self.words.language {
                    Language::English => {
                        format!("Process {pid} is at {address} now. Try again when it is done.")
                    }
                    Language::German => {
                        format!("Prozess {pid} arbeitet gerade an {address}. Danach noch einmal versuchen.")
                    }
                };
                Err(self.no(sentence, exit::FAILED).await)
            }
            Err(NoLock::Io(e)) => Err(self.no(format!("{}: {e}", file.display()), exit::CONFIGURATION).await),
        }
    }

    pub(super) async fn failed(&self, e: &Error, pins: &FilePins) -> Ended {
        let certificate = matches!(e, Error::CertificateChanged { .. } | Error::CertificateUnknown { .. });
        let code = if certificate { exit::REFUSED } else { exit_code(e) };
        let mut place = None;
        if let Error::CertificateChanged { pinned, .. } = e
            && !self.globals.certificate.contains(pinned)
        {
            place = pins.place_of(*pinned);
        }
        self.no(self.words.error(e, place.as_deref()), code).await
    }
}

impl Seat {
    pub(super) async fn failed(&self, e: &Error) -> Ended {
        self.room.failed(e, &self.pins).await
    }

    pub(super) fn any_firmware(&self) -> bool {
        self.room.globals.firmware == Some(Firmware::Any)
    }

    /// Whether this firmware may be written to; says so where it is at the person's own risk.
    pub(super) async fn may_write(&self, firmware: &str) -> Result<(), Ended> {
        if self.driver.profile().knows_firmware(firmware) {
            return Ok(());
        }
        if !self.any_firmware() {
            return Err(self.room.no(self.room.words.unknown_firmware(firmware), exit::REFUSED).await);
        }
        let firmware = crate::prompt::printable(firmware);
        complain(&match self.room.words.language {
            Language::English => {
                format!("The firmware {firmware} is not known here. What is written to it was never tried.")
            }
            Language::German => {
                format!(
                    "Die Firmware {firmware} ist hier nicht bekannt. Was dorthin geschrieben wird, wurde nie erprobt."
                )
            }
        });
        Ok(())
    }

    pub(super) async fn wrong_place(&self, file: &Path, e: &io::Error) -> Ended {
        let code = if e.kind() == io::ErrorKind::AlreadyExists { exit::USAGE } else { exit::FAILED };
        self.room.no(format!("{}: {e}", file.display()), code).await
    }
}

/// `host:port`, IPv6 in brackets.
fn at(host: &str, port: u16) -> Option<HostPort> {
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().ok()
}

/// Where a make's management interface listens.
fn port_of(product: Product) -> u16 {
    match product {
        Product::Kocobox | Product::Auto => 9443,
        Product::Secunet => 8500,
        Product::Rise => 8443,
    }
}

/// What its backups call it: its address as a name.
fn id(address: &HostPort) -> Option<KonnektorId> {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = address.host().chars().map(letters).collect();
    let slug: Vec<&str> = slug.split('-').filter(|part| !part.is_empty()).collect();
    let mut slug = slug.join("-");
    slug.truncate(63);
    let site = slug.trim_end_matches('-').parse().ok()?;
    let konnektor = format!("port-{}", address.port()).parse().ok()?;
    Some(KonnektorId { site, konnektor })
}

/// Unfinished work at this host, and of which make it is.
fn earlier(state: &Path, host: &str, port: Option<u16>, product: Product) -> Option<(HostPort, Product)> {
    let ports = match (port, product) {
        (Some(port), _) => vec![port],
        (None, Product::Auto) => Profiles::MAKES.iter().map(|(product, _)| port_of(*product)).collect(),
        (None, known) => vec![port_of(known)],
    };
    ports.into_iter().find_map(|port| {
        let address = at(host, port)?;
        let record = Record::read(&Record::path(state, &address)).ok()??;
        let (make, _) = Profiles::MAKES.into_iter().find(|(_, name)| *name == record.product)?;
        Some((address, make))
    })
}

/// The word of a make.
pub(super) fn make_word(product: Product) -> &'static str {
    Profiles::MAKES.iter().find(|(make, _)| *make == product).map_or("auto", |(_, word)| *word)
}

/// Whether work was told to stop at the next safe place.
pub(super) fn is_stopped(stop: &Stop) -> bool {
    stop.stopped.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_a_name() {
        for (address, name) in [
            ("192.168.2.100:9443", "192-168-2-100/port-9443"),
            ("[fd00::1]:443", "fd00-1/port-443"),
            ("Konnektor.Praxis.example:1", "konnektor-praxis-example/port-1"),
        ] {
            assert_eq!(id(&address.parse().unwrap()).unwrap().to_string(), name);
        }
    }
}
