//! Two clocks at once: the wall's, for people, and one that nobody can set and that counts while the machine sleeps.
//! Absent on purpose: waiting.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// Both clocks, handed down from the program.
#[derive(Clone)]
pub struct Time {
    wall: Clock,
    since_boot: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall's clock, which may be wrong or be set.
    pub wall: Timestamp,
    /// Since the machine was started, sleep counted.
    pub since_boot: Duration,
}

impl Time {
    /// The wall's clock and `CLOCK_BOOTTIME` (`clock_gettime(2)`).
    pub fn system(wall: Clock) -> Self {
        Self::of(wall, || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
            Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
        })
    }

    /// What these two say.
    pub fn of(wall: Clock, since_boot: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { wall, since_boot: Arc::new(since_boot) }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment { wall: self.wall.now(), since_boot: (self.since_boot)() }
    }
}

/// An end by both clocks: whichever comes first. So a clock that is set back lengthens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    wall: Timestamp,
    since_boot: Duration,
}

impl End {
    /// So long after `now`.
    pub fn after(now: Moment, lasts: Duration) -> Self {
        let wall = SignedDuration::try_from(lasts).ok().and_then(|d| now.wall.checked_add(d).ok());
        Self { wall: wall.unwrap_or(now.wall), since_boot: now.since_boot.saturating_add(lasts) }
    }

    /// How much is left; nothing at its end.
    pub fn left(&self, now: Moment) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(now.wall)).unwrap_or_default();
        wall.min(self.since_boot.saturating_sub(now.since_boot))
    }

    /// For people: when that will be, by the wall's clock as it goes now.
    pub fn shown(&self, now: Moment) -> Timestamp {
        let left = self.left(now);
        let by_wall = Duration::try_from(self.wall.duration_since(now.wall)).unwrap_or_default();
        // The clocks drift by a little, and a shown time that trembles is read out again and again.
        if by_wall.saturating_sub(left) < Duration::from_secs(2) {
            self.wall
        } else {
            Self::after(now, left).wall
        }
    }

    /// The earlier one.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), since_boot: self.since_boot.min(other.since_boot) }
    }

    /// The later one.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), since_boot: self.since_boot.max(other.since_boot) }
    }
}
