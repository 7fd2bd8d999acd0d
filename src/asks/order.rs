//! A work order, as data: several things at several sites, for a time, asked for at once.
//! Absent on purpose: whether it may, and that it was confirmed.

use std::time::Duration;

use super::Family;
use crate::names::{SiteName, Ticket};

/// `order TICKET -i SITE,… --may WHAT,… --for 60m`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it is called by.
    pub ticket: Ticket,
    /// Where; sorted, none twice.
    pub sites: Vec<SiteName>,
    /// What; sorted, none twice.
    pub may: Vec<Family>,
    /// How long.
    pub lasts: Duration,
}

/// The longest order, in bytes as it was typed: a phone shows all of it.
pub const LONGEST_ORDER: usize = 160;
