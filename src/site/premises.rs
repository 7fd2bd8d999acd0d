//! Everything of a site that its tasks share: the settings, the switch, who is in, the record. Absent on purpose: what they do with it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::asks::Asks;
use super::config::Settings;
use super::links::Link;
use super::record::{Line, Record, replace};
use super::streams::Boxes;
use super::switch::{Standing, Switch};
use super::time::Time;
use super::visits::{Shelf, Visits};
use crate::random::Random;

/// What was chosen and outlives a restart.
const STANDING: &str = "switch.json";
/// Refusals that are written down: at once, and one more each so often. A gateway can cause as many as it likes.
const REFUSALS: (u32, Duration) = (60, Duration::from_secs(10));

/// What a site's tasks share.
pub struct Premises {
    /// `site.toml`
    pub settings: Settings,
    /// Both clocks.
    pub time: Time,
    /// For jitter.
    pub random: Random,
    /// The customer's switch.
    pub switch: Switch,
    /// Who is in.
    pub visits: Arc<Visits>,
    /// Who was.
    pub shelf: Arc<Shelf>,
    /// Who asks.
    pub asks: Asks,
    /// The site's own record.
    pub record: Record,
    /// By the gateway's number.
    pub links: Vec<Link>,
    /// Counted up when this machine's network changes.
    pub network: watch::Sender<u64>,
    /// Calls to the Konnektors.
    pub boxes: Arc<dyn Boxes>,
    refusals: Mutex<Bucket>,
}

struct Bucket {
    left: u32,
    filled: Duration,
    left_out: u64,
}

impl Premises {
    /// Opens the state's folder; the switch is closed.
    ///
    /// # Errors
    /// The disk's, or a file there that says what none of ours says.
    pub fn open(
        settings: Settings,
        time: Time,
        random: Random,
        boxes: Arc<dyn Boxes>,
    ) -> io::Result<Arc<Self>> {
        super::private_folder(&settings.state)?;
        let standing = standing(&settings)?;
        let record = Record::open(&settings.state)?;
        let shelf =
            Shelf::open(&settings.state, settings.key.clone(), settings.name.as_str(), &settings.title)?;
        let shelf = Arc::new(shelf);
        let now = time.now();
        let switch = Switch::new(
            settings.name.clone(),
            settings.key.clone(),
            time.clone(),
            settings.zone.clone(),
            settings.switch.most,
            standing,
        );
        let refusals = Bucket { left: REFUSALS.0, filled: now.since_boot, left_out: 0 };
        Ok(Arc::new(Self {
            links: settings.gateways.iter().map(|gateway| Link::new(gateway.clone(), now.wall)).collect(),
            visits: Arc::new(Visits::new(time.clone(), shelf.clone())),
            asks: Asks::new(time.clone()),
            refusals: Mutex::new(refusals),
            network: watch::Sender::new(0),
            settings,
            time,
            random,
            switch,
            shelf,
            record,
            boxes,
        }))
    }

    /// A firm's name for people.
    pub fn firm_title(&self, firm: &str) -> String {
        let known = self.settings.firms.iter().find(|known| known.name == firm);
        known.map_or_else(|| firm.to_owned(), |known| known.title.clone())
    }

    /// Writes a line of the record, with its time.
    ///
    /// # Errors
    /// The disk's.
    pub async fn write_down(&self, line: Line) -> io::Result<()> {
        self.record.write(Line { time: Some(self.time.now().wall), ..line }).await
    }

    /// The same for what happens anyhow: a full disk is said in the log.
    pub async fn note(&self, line: Line) {
        let event = line.event;
        if let Err(e) = self.write_down(line).await {
            tracing::error!("the site's record cannot be written ({event}): {e}");
        }
    }

    /// A gateway was refused something; not every one of many stands in the record, but how many do not.
    pub async fn note_refusal(&self, mut line: Line) {
        let now = self.time.now().since_boot;
        {
            let mut bucket = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = now.saturating_sub(bucket.filled).as_secs() / REFUSALS.1.as_secs();
            if passed > 0 {
                let more = u32::try_from(passed).unwrap_or(u32::MAX);
                bucket.left = bucket.left.saturating_add(more).min(REFUSALS.0);
                bucket.filled = now;
            }
            if bucket.left == 0 {
                bucket.left_out += 1;
                return;
            }
            bucket.left -= 1;
            let left_out = std::mem::take(&mut bucket.left_out);
            if left_out > 0 {
                let cause = line.cause.unwrap_or_default();
                line.cause = Some(format!("{cause}; {left_out} more before it"));
            }
        }
        self.note(line).await;
    }

    /// Writes down what outlives a restart.
    ///
    /// # Errors
    /// The disk's; what was there stays.
    pub async fn keep(&self, standing: Standing) -> io::Result<()> {
        let path = self.settings.state.join(STANDING);
        let text = serde_json::to_vec(&standing)?;
        let kept = tokio::task::spawn_blocking(move || replace(&path, &text));
        kept.await.map_err(io::Error::other)?
    }
}

/// What was chosen last, or what `site.toml` begins with.
fn standing(settings: &Settings) -> io::Result<Standing> {
    match std::fs::read(settings.state.join(STANDING)) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{STANDING}: {e}"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Standing {
            backup_only: settings.switch.backup_only,
            when_possible: settings.switch.when_possible,
        }),
        Err(e) => Err(e),
    }
}

/// A folder for its owner alone, made where it is not there.
///
/// # Errors
/// The disk's, or others can look into it.
pub fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let meta = std::fs::metadata(path)?;
    if meta.mode() & 0o022 != 0 || !crate::owner::is_ours(meta.uid()) {
        let text = format!("{}: others can write here: chmod go-w", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}
