//! What time is it? Asked of a value, so that a test can answer. Absent on purpose: any other use of the system's clock.

use std::sync::Arc;

use jiff::Timestamp;

/// A source of the current time, handed down from `main`.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that answers what `now` answers; for tests.
    #[must_use]
    pub fn of(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The current time, UTC.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}
