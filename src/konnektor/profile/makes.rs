//! The profiles of all makes: what this build ships, and what a site's operator puts in a make's place.
//! Absent on purpose: reading files; whoever reads the configuration does.

use std::sync::Arc;

use super::Profile;
use crate::konnektor::{Error, Product};

pub(super) const KOCOBOX: &str = include_str!("../kocobox.toml");
pub(super) const SECUNET: &str = include_str!("../secunet.toml");
const RISE: &str = include_str!("../rise.toml");

impl Profile {
    /// The text of the profile this build ships for the `KoCoBox MED+`, to be changed and put in its place.
    #[must_use]
    pub fn kocobox_text() -> &'static str {
        KOCOBOX
    }

    /// The profile this build ships for the `KoCoBox MED+`.
    ///
    /// # Errors
    /// [`Error::BadProfile`]; a test holds that it does not happen.
    pub fn kocobox() -> Result<Self, Error> {
        Self::parse(KOCOBOX)
    }

    /// The profile this build ships for secunet's Konnektors.
    ///
    /// # Errors
    /// As [`Profile::kocobox`].
    pub fn secunet() -> Result<Self, Error> {
        Self::parse(SECUNET)
    }

    /// The profile this build ships for the RISE Konnektor.
    ///
    /// # Errors
    /// As [`Profile::kocobox`].
    pub fn rise() -> Result<Self, Error> {
        Self::parse(RISE)
    }

    /// The profile this build ships for a make.
    ///
    /// # Errors
    /// [`Error::UnknownProduct`] for [`Product::Auto`]; else as [`Profile::kocobox`].
    pub fn of(product: Product) -> Result<Self, Error> {
        match product {
            Product::Kocobox => Self::kocobox(),
            Product::Secunet => Self::secunet(),
            Product::Rise => Self::rise(),
            Product::Auto => Err(Error::UnknownProduct),
        }
    }
}

/// What is known of each make; cheap to clone.
#[derive(Debug, Clone)]
pub struct Profiles {
    kocobox: Arc<Profile>,
    secunet: Arc<Profile>,
    rise: Arc<Profile>,
}

impl Profiles {
    /// The makes, and the name of each: that of its file without `.toml`, and of `product` in a site's file.
    pub const MAKES: [(Product, &'static str); 3] =
        [(Product::Kocobox, "kocobox"), (Product::Secunet, "secunet"), (Product::Rise, "rise")];

    /// What this build ships.
    ///
    /// # Errors
    /// [`Error::BadProfile`]; a test holds that it does not happen.
    pub fn shipped() -> Result<Self, Error> {
        Ok(Self {
            kocobox: Arc::new(Profile::kocobox()?),
            secunet: Arc::new(Profile::secunet()?),
            rise: Arc::new(Profile::rise()?),
        })
    }

    /// The same with another profile for a make; [`Product::Auto`] has none.
    #[must_use]
    pub fn with(mut self, product: Product, profile: Profile) -> Self {
        match product {
            Product::Kocobox => self.kocobox = Arc::new(profile),
            Product::Secunet => self.secunet = Arc::new(profile),
            Product::Rise => self.rise = Arc::new(profile),
            Product::Auto => {}
        }
        self
    }

    /// The profile of a make; none of [`Product::Auto`].
    #[must_use]
    pub fn of(&self, product: Product) -> Option<&Arc<Profile>> {
        match product {
            Product::Kocobox => Some(&self.kocobox),
            Product::Secunet => Some(&self.secunet),
            Product::Rise => Some(&self.rise),
            Product::Auto => None,
        }
    }
}
