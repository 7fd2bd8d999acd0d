//! A session at one box: requests under its newest login, and one new login where the box says that it is over.
//! Absent on purpose: what the requests are for, and a second try of a refused password; the account could be locked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Badge, Door, Request, Standing, dressed};
use crate::konnektor::certificate::{CertificatePin, Listener, Pinned, Pins};
use crate::konnektor::http::{Answer, Bounds, Target, Wire};
use crate::konnektor::{Error, Profile, Spec};

/// A login with a client of its own, so that no cookie of an older one is sent with it.
struct Login {
    wire: Wire,
    badge: Badge,
    /// Counted from 0.
    number: u64,
}

/// See the module.
pub(super) struct Session {
    spec: Arc<Spec>,
    profile: Arc<Profile>,
    door: Arc<dyn Door>,
    pins: Arc<dyn Pins>,
    login: Mutex<Arc<Login>>,
    /// Who logs in again for all.
    one_for_all: Semaphore,
    /// It failed: who comes next opens another one.
    worn: AtomicBool,
}

impl Session {
    /// Logs in.
    pub(super) async fn open(
        spec: &Arc<Spec>,
        profile: &Arc<Profile>,
        door: &Arc<dyn Door>,
        pins: &Arc<dyn Pins>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let bounds = bounds(profile, profile.limits.page_bytes, deadline);
        let login = enter(spec, door, pins, None, 0, bounds).await?;
        Ok(Self {
            spec: Arc::clone(spec),
            profile: Arc::clone(profile),
            door: Arc::clone(door),
            pins: Arc::clone(pins),
            login: Mutex::new(Arc::new(login)),
            one_for_all: Semaphore::new(1),
            worn: AtomicBool::new(false),
        })
    }

    pub(super) fn is_fresh(&self) -> bool {
        !self.worn.load(Ordering::Acquire)
    }

    pub(super) fn wear_out(&self) {
        self.worn.store(true, Ordering::Release);
    }

    fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends it; sends it once more under a new login where the box answered that the session is over. A GET follows
    /// redirects on the same box, anything else follows none.
    pub(super) async fn exchange(
        &self,
        request: &Request<'_>,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut again = false;
        loop {
            let login = self.login();
            let ask = dressed(&login.wire, &login.badge, request)?;
            let bounds = bounds(&self.profile, bytes, deadline);
            let answer = if request.method == Method::GET {
                login.wire.follow(ask, bounds).await?
            } else {
                login.wire.send(ask, bounds).await?
            };
            match self.door.standing(&answer) {
                Standing::Lives => return Ok(answer),
                Standing::Unclear if login.number > 0 => {
                    // Asked once a session: a new login did not help. Who comes next begins anew all the same.
                    self.wear_out();
                    return Ok(answer);
                }
                Standing::Unclear if !self.door.is_over(&login.wire, &login.badge, bounds).await? => {
                    return Ok(answer);
                }
                Standing::Over | Standing::Unclear => {}
            }
            if again {
                self.wear_out();
                return Err(Error::SessionExpired);
            }
            self.enter_again(&login, deadline).await.inspect_err(|_| self.wear_out())?;
            again = true;
        }
    }

    /// Once a session: who finds that somebody else did it already goes on.
    async fn enter_again(&self, expired: &Login, deadline: Instant) -> Result<(), Error> {
        let _turn = self.one_for_all.acquire().await.map_err(|_| Error::SessionExpired)?;
        let now = self.login();
        if now.number > expired.number {
            return Ok(());
        }
        // One that was refused its new login is worn: nobody behind it in the queue tries the password too.
        if now.number > 0 || !self.is_fresh() {
            return Err(Error::SessionExpired);
        }
        tracing::info!(konnektor = %self.spec.id, "the session ended; logging in again, once");
        let bounds = bounds(&self.profile, self.profile.limits.page_bytes, deadline);
        let (pin, number) = (now.wire.certificate(), now.number + 1);
        match enter(&self.spec, &self.door, &self.pins, pin, number, bounds).await {
            Ok(login) => {
                *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(login);
                Ok(())
            }
            Err(error) => {
                self.wear_out();
                Err(error)
            }
        }
    }

    /// Tells the box that it is over, where that is known; nobody waits longer than a dial may take.
    pub(super) async fn leave(&self) {
        let Some((method, path)) = self.door.exit() else { return };
        let login = self.login();
        let request = Request { method, path, content_type: None, body: None };
        let Ok(ask) = dressed(&login.wire, &login.badge, &request) else { return };
        let deadline = Instant::now() + self.spec.timeouts.connect;
        let bounds = bounds(&self.profile, self.profile.limits.page_bytes, deadline);
        if let Err(error) = login.wire.send(ask, bounds).await {
            tracing::debug!(konnektor = %self.spec.id, %error, "logout was not heard");
        }
    }
}

fn bounds(profile: &Profile, bytes: usize, deadline: Instant) -> Bounds {
    let limits = profile.limits;
    Bounds { bytes, redirects: limits.redirects, cookies: limits.cookies, deadline }
}

async fn enter(
    spec: &Spec,
    door: &Arc<dyn Door>,
    pins: &Arc<dyn Pins>,
    pin: Option<CertificatePin>,
    number: u64,
    bounds: Bounds,
) -> Result<Login, Error> {
    let target = Target {
        scheme: "https",
        address: &spec.address,
        pinned: Pinned { konnektor: spec.id.clone(), listener: Listener::Management },
        configured: pin.or(spec.certificate),
        welcome: None,
        timeouts: spec.timeouts,
        connections: spec.slots(),
    };
    let wire = Wire::new(target, Arc::clone(pins)).await?;
    let badge = door.enter(&wire, spec, bounds).await?;
    tracing::debug!(konnektor = %spec.id, "logged in");
    Ok(Login { wire, badge, number })
}
