//! A plan, done: each write is read back and compared, and one whose answer is lost is decided by what the box holds.
//! Absent on purpose: trust in an answer. What the box says when it is asked again is what counts.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Driver, End, Event, Kind, Outcome, Patience, Plan, Step, StepResult, Watch};
use crate::konnektor::diff::{Diff, held, same};
use crate::konnektor::{CertificatePin, Error, Json, Konnektor};
use crate::names::{HostPort, ServiceName};

/// The longest pause between two questions to a box that is away.
const PAUSE: Duration = Duration::from_secs(15);
/// How often a service that the box will not show is asked for.
const UNREADABLE: usize = 3;
/// How often a box that took its new address is asked whether it is there already.
const SETTLING: usize = 4;

/// Does what the plan says, step by step, and tells of each before and after. Dropping it between two polls leaves the
/// box as a cut would; a new plan from the same file does what is left.
pub async fn execute(
    plan: Plan,
    driver: Arc<dyn Konnektor>,
    watch: &dyn Watch,
    patience: Patience,
) -> Outcome {
    let mut run = Run { driver, watch, patience };
    let of = plan.steps.len();
    let mut results = Vec::with_capacity(of);
    let mut ended: Option<End> = None;
    for (n, step) in plan.steps.into_iter().enumerate() {
        if ended.is_some() {
            results.push((step.service, StepResult::NotReached));
            continue;
        }
        let (result, end) = run.step(&step, n + 1, of).await;
        watch.after(&step, &result).await;
        results.push((step.service, result));
        ended = end;
    }
    let fine =
        results.iter().all(|(_, result)| matches!(result, StepResult::Done { .. } | StepResult::AlreadySo));
    let end = ended.unwrap_or(if fine { End::Done } else { End::Failed });
    Outcome { results, address: run.driver.address().clone(), end }
}

/// The same box, where it answers with its certificate: the first of these addresses that does.
///
/// # Errors
/// Why the account was refused, or what the first address met.
pub async fn find(driver: &Arc<dyn Konnektor>, candidates: &[HostPort]) -> Result<Arc<dyn Konnektor>, Error> {
    let profile = driver.profile();
    let place = profile.serial.as_ref().map(|place| place.service.clone());
    let first = || profile.services().first().map(|service| service.name.clone());
    let service = place.or_else(first).ok_or(Error::NotInProfile { key: "service".into() })?;
    let mut met = None;
    for address in candidates {
        let there = if address == driver.address() { Arc::clone(driver) } else { driver.at(address.clone()) };
        match read(&there, &service).await {
            Ok(_) | Err(Error::NotAllowed { .. }) => return Ok(there),
            Err(error) if is_of_account(&error) => return Err(error),
            Err(error) => drop(met.get_or_insert(error)),
        }
    }
    Err(met.unwrap_or(Error::Away))
}

struct Run<'w> {
    driver: Driver,
    watch: &'w dyn Watch,
    patience: Patience,
}

/// Why a box's value is not known.
enum Lost {
    /// It will not show it.
    Refused(Error),
    /// It did not answer in time, or is not to be asked again.
    Away(Error),
}

/// What an attempt left behind.
struct Left {
    why: Option<Error>,
    unchanged: bool,
    diff: Diff,
    grown: Vec<String>,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step, n: usize, of: usize) -> (StepResult, Option<End>) {
        let service = &step.service;
        let before = match self.look(slice::from_ref(&self.driver), service).await {
            Ok((found, _)) if same(&found, &step.value, self.driver.profile()) => {
                return (StepResult::AlreadySo, None);
            }
            // Its sum, not its text: two values of 50 MB are enough.
            Ok((found, _)) => self.lasting(&found),
            Err(Lost::Refused(error)) => return (StepResult::Refused(error), None),
            Err(Lost::Away(error)) => return (StepResult::NotReached, Some(End::Interrupted(error))),
        };
        if self.watch.before(step).await.is_err() {
            return (StepResult::NotReached, Some(End::Stopped));
        }
        let bytes = step.value.text().len();
        self.watch.told(&Event::Writing { n, of, service, bytes });
        let mut left: Option<Left> = None;
        for attempt in 1..=self.patience.tries.max(1) {
            if attempt > 1 {
                let why = left.as_ref().and_then(|left| left.why.as_ref());
                self.watch.told(&Event::Again { service, why });
                sleep(self.pause()).await;
            }
            let why = match self.driver.write(service, &step.value).await {
                Ok(()) => None,
                Err(error) if is_for_good(&error) => {
                    let touched = left.is_some_and(|left| !left.unchanged);
                    return if touched { open(error) } else { (StepResult::Refused(error), None) };
                }
                Err(error) if is_of_account(&error) || is_of_certificate(&error) => return open(error),
                Err(error) => Some(error),
            };
            self.watch.told(&Event::ReadingBack { service });
            let found = match self.settled(step).await {
                Ok(found) => found,
                Err(Lost::Refused(error) | Lost::Away(error)) => return open(error),
            };
            if same(&found, &step.value, self.driver.profile()) {
                return (StepResult::Done { bytes }, None);
            }
            let (diff, grown) = held(&step.value, &found, self.driver.profile());
            let unchanged = self.lasting(&found) == before;
            let now = Left { why, unchanged, diff, grown };
            // What the box took and holds otherwise, it would hold otherwise again; what it only adds to is there.
            if now.why.is_none() && (!now.unchanged || now.diff.is_empty()) {
                return (self.judged(step, now), None);
            }
            left = Some(now);
        }
        // At least one attempt was made.
        (left.map_or(StepResult::NotReached, |left| self.judged(step, left)), None)
    }

    /// What came of a step whose value on the box is known, and is not quite the one that was written.
    fn judged(&self, step: &Step, left: Left) -> StepResult {
        match left {
            Left { why: Some(error), unchanged: true, .. } => StepResult::Refused(error),
            Left { diff, grown, .. } if diff.is_empty() => {
                self.watch.told(&Event::Grown { service: &step.service, places: &grown });
                StepResult::Done { bytes: step.value.text().len() }
            }
            Left { diff, .. } => StepResult::Differs(diff),
        }
    }

    /// The sum of a value without what changes by itself.
    fn lasting(&self, value: &Json) -> CertificatePin {
        let transient = &self.driver.profile().compare.transient;
        CertificatePin::of(value.without(transient).text().as_bytes())
    }

    /// What the box holds after a write; one that changes its address is looked for at both.
    async fn settled(&mut self, step: &Step) -> Result<Json, Lost> {
        let service = &step.service;
        let to = match &step.kind {
            Kind::Move(to) if to != self.driver.address() => to,
            Kind::Move(_) | Kind::Write | Kind::DeleteCertificates | Kind::ImportCertificates => {
                return self.look(slice::from_ref(&self.driver), service).await.map(|(found, _)| found);
            }
        };
        let both = [self.driver.at(to.clone()), Arc::clone(&self.driver)];
        let mut asked = 0;
        loop {
            let (found, at) = self.look(&both, service).await?;
            if at == 0 {
                let [new, _] = both;
                self.driver = new;
                self.watch.told(&Event::Moved { to });
                return Ok(found);
            }
            asked += 1;
            if asked > SETTLING || !same(&found, &step.value, self.driver.profile()) {
                return Ok(found);
            }
            sleep(self.pause()).await;
        }
    }

    /// Reads a service, from the first of these that answers, with as much patience as there is.
    async fn look(&self, from: &[Driver], service: &ServiceName) -> Result<(Json, usize), Lost> {
        let begun = Instant::now();
        let (mut pause, mut waited, mut unreadable) = (self.pause(), false, 0);
        loop {
            let mut met = Error::Away;
            for (n, driver) in from.iter().enumerate() {
                match read(driver, service).await {
                    Ok(found) => {
                        if waited {
                            self.watch.told(&Event::Back);
                        }
                        return Ok((found, n));
                    }
                    Err(error) if is_of_account(&error) => return Err(Lost::Away(error)),
                    // Somebody else may have the new address: nothing was sent there.
                    Err(error) if is_of_certificate(&error) && from.len() == 1 => {
                        return Err(Lost::Away(error));
                    }
                    Err(error) => {
                        unreadable += usize::from(is_for_good(&error));
                        met = error;
                    }
                }
            }
            if unreadable >= UNREADABLE * from.len() {
                return Err(Lost::Refused(met));
            }
            let since = begun.elapsed();
            if since >= self.patience.away {
                return Err(Lost::Away(met));
            }
            self.watch.told(&Event::Waiting { why: &met, since });
            waited = true;
            sleep(pause.min(self.patience.away.saturating_sub(since))).await;
            pause = (pause * 2).min(PAUSE);
        }
    }

    /// The first pause: a quarter of a second, less where patience is short.
    fn pause(&self) -> Duration {
        (self.patience.away / 40).min(Duration::from_millis(250))
    }
}

fn open(error: Error) -> (StepResult, Option<End>) {
    (StepResult::Open(error.clone()), Some(End::Interrupted(error)))
}

async fn read(driver: &Driver, service: &ServiceName) -> Result<Json, Error> {
    let mut reading = driver.read(slice::from_ref(service), &()).await?;
    match (reading.services.pop(), reading.failed.pop()) {
        (Some(read), _) => Ok(read.value),
        (None, Some((_, error))) => Err(error),
        (None, None) => Err(Error::Dropped),
    }
}

/// Asked again it would be refused again, and nothing was done.
fn is_for_good(error: &Error) -> bool {
    if let Error::Http { status, .. } = error {
        return (400..500).contains(status) && ![408, 425, 429].contains(status);
    }
    matches!(
        error,
        Error::NotAllowed { .. }
            | Error::ReadOnly { .. }
            | Error::NotInProfile { .. }
            | Error::UnknownService { .. }
            | Error::BadProfile { .. }
    )
}

/// A login is not tried again and again, lest the account be locked; nor a site's door that was closed meanwhile.
fn is_of_account(error: &Error) -> bool {
    matches!(
        error,
        Error::LoginFailed | Error::PasswordChangeForced | Error::Setup | Error::SiteRefused { .. }
    )
}

fn is_of_certificate(error: &Error) -> bool {
    matches!(error, Error::CertificateChanged { .. } | Error::CertificateUnknown { .. })
}
