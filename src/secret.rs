//! Text that must never be printed: passwords, HMAC keys, one-time codes.
//! Absent on purpose: `Debug`, `Display`, `Serialize`, `Clone` to a `String`.

use zeroize::Zeroizing;

/// A secret text. Its only reader is [`Secret::reveal`], so that every use can be found by name.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the memory is wiped on drop.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one call that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}
