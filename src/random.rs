//! Random bits, asked of a value, so that a test can answer. Absent on purpose: keys; those come from their own crates.

use std::sync::Arc;

/// A source of random bits, handed down from `main`.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u128 + Send + Sync>);

impl Random {
    /// The operating system's generator, through `rand`.
    pub fn system() -> Self {
        Self(Arc::new(rand::random::<u128>))
    }

    /// A source that gives what `draw` gives; for tests.
    pub fn of(draw: impl Fn() -> u128 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// 128 fresh bits.
    pub fn draw(&self) -> u128 {
        (self.0)()
    }

    /// 64 fresh bits.
    pub fn draw64(&self) -> u64 {
        u64::try_from(self.draw() >> 64).unwrap_or_default()
    }
}
