//! The families of asks, as `may = […]` in rules.toml names them.

use crate::names::HostName;

/// A family of asks, as `may = […]` in rules.toml names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `help`, `whoami`, `sites`, `why`: about the person alone; open to everybody whom any rule names.
    Oneself,
    /// `order`: several things in advance; open to whom any rule names, for what rules with `order` allow.
    Order,
    /// `konnektor list`
    KonnektorList,
    /// `konnektor status`
    KonnektorStatus,
    /// `konnektor backup`
    KonnektorBackup,
    /// `konnektor backups`
    KonnektorBackups,
    /// `konnektor show`
    KonnektorShow,
    /// `konnektor diff`
    KonnektorDiff,
    /// `konnektor restore`
    KonnektorRestore,
    /// `konnektor perform`
    KonnektorPerform,
    /// `konnektor terminals`
    KonnektorTerminals,
    /// `konnektor remap`
    KonnektorRemap,
    /// `hop portal`
    HopPortal,
    /// `hop backup`
    HopBackup,
    /// `forward portal`
    ForwardPortal,
    /// `forward backup`
    ForwardBackup,
}

impl Family {
    /// All that a rule can name.
    pub const NAMED: [Family; 14] = [
        Family::KonnektorList,
        Family::KonnektorStatus,
        Family::KonnektorBackup,
        Family::KonnektorBackups,
        Family::KonnektorShow,
        Family::KonnektorDiff,
        Family::KonnektorRestore,
        Family::KonnektorPerform,
        Family::KonnektorTerminals,
        Family::KonnektorRemap,
        Family::HopPortal,
        Family::HopBackup,
        Family::ForwardPortal,
        Family::ForwardBackup,
    ];

    /// `hop HOST`; there are two hosts a site that rules can name.
    pub fn hop(host: &HostName) -> Option<Self> {
        match host.as_str() {
            "portal" => Some(Family::HopPortal),
            "backup" => Some(Family::HopBackup),
            _ => None,
        }
    }

    /// `forward HOST`
    pub fn forward(host: &HostName) -> Option<Self> {
        match host.as_str() {
            "portal" => Some(Family::ForwardPortal),
            "backup" => Some(Family::ForwardBackup),
            _ => None,
        }
    }

    /// Does it reach into the site? What is about things that are kept here does not.
    pub fn touches_the_site(self) -> bool {
        match self {
            Family::Oneself
            | Family::Order
            | Family::KonnektorList
            | Family::KonnektorBackups
            | Family::KonnektorShow => false,
            Family::KonnektorStatus
            | Family::KonnektorBackup
            | Family::KonnektorDiff
            | Family::KonnektorRestore
            | Family::KonnektorPerform
            | Family::KonnektorTerminals
            | Family::KonnektorRemap
            | Family::HopPortal
            | Family::HopBackup
            | Family::ForwardPortal
            | Family::ForwardBackup => true,
        }
    }

    /// As rules.toml and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Oneself => "whoami",
            Family::Order => "order",
            Family::KonnektorList => "konnektor list",
            Family::KonnektorStatus => "konnektor status",
            Family::KonnektorBackup => "konnektor backup",
            Family::KonnektorBackups => "konnektor backups",
            Family::KonnektorShow => "konnektor show",
            Family::KonnektorDiff => "konnektor diff",
            Family::KonnektorRestore => "konnektor restore",
            Family::KonnektorPerform => "konnektor perform",
            Family::KonnektorTerminals => "konnektor terminals",
            Family::KonnektorRemap => "konnektor remap",
            Family::HopPortal => "hop portal",
            Family::HopBackup => "hop backup",
            Family::ForwardPortal => "forward portal",
            Family::ForwardBackup => "forward backup",
        }
    }
}
