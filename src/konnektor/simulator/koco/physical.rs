//! What is inserted in and wired to a simulated `KoCoBox`, whatever its configuration: the cards in the terminals' slots.
//! Absent on purpose: any way to change that through the management interface.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::folder::Folder;

/// Beside the services, from the first write on, so that another start finds what a reset took out of these.
const FILE: &str = ".physical";

/// Cards, by where each service shows them.
#[derive(Default, Serialize, Deserialize)]
pub(in super::super) struct Physical {
    /// `slotInfos` of `cardterminals`, by the terminal's MAC address.
    terminals: BTreeMap<String, Value>,
    /// `CARDS` of `cardservice`.
    cards: Option<Value>,
    /// `slotInfos` of `cardterminalservice`.
    slots: Option<Value>,
}

/// A terminal's MAC address, as its key here.
pub(super) fn mac(terminal: &Value) -> Option<String> {
    let mac = terminal.get("MAC_ADRESS")?.as_str()?;
    Some(mac.to_ascii_uppercase().replace('-', ":"))
}

impl Physical {
    pub(in super::super) fn load(folder: &Folder) -> Self {
        let mut loaded: Self =
            folder.value(FILE).and_then(|value| Ok(serde_json::from_value(value)?)).unwrap_or_default();
        loaded.look(folder);
        loaded
    }

    /// Takes what the files show: somebody may have edited them by hand.
    pub(super) fn look(&mut self, folder: &Folder) {
        let shown = |service: &str| folder.value(service).unwrap_or_default();
        for terminal in shown("cardterminals").as_array().into_iter().flatten() {
            if let (Some(mac), Some(slots)) = (mac(terminal), terminal.get("slotInfos")) {
                self.terminals.insert(mac, slots.clone());
            }
        }
        self.cards = shown("cardservice").get("CARDS").cloned().or(self.cards.take());
        self.slots = shown("cardterminalservice").get("slotInfos").cloned().or(self.slots.take());
    }

    pub(super) fn save(&self, folder: &Folder) -> std::io::Result<()> {
        folder.put(FILE, &serde_json::to_value(self)?)
    }

    /// Puts the cards where the service shows them, and takes away what was said of them.
    pub(super) fn show(&self, service: &str, value: &mut Value) {
        match service {
            "cardservice" => put(value, "CARDS", self.cards.as_ref()),
            "cardterminalservice" => put(value, "slotInfos", self.slots.as_ref()),
            "cardterminals" => {
                for terminal in value.as_array_mut().into_iter().flatten() {
                    let slots = mac(terminal).and_then(|mac| self.terminals.get(&mac));
                    put(terminal, "slotInfos", slots);
                }
            }
            _ => {}
        }
    }

    /// Cards follow their terminal to its new identifier.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let lists = [(&mut self.cards, "CT_ID"), (&mut self.slots, "ctId")];
        for (list, member) in lists {
            for card in list.iter_mut().filter_map(Value::as_array_mut).flatten() {
                if let Some(id) = card.get_mut(member).filter(|id| **id == *old) {
                    *id = json!(new);
                }
            }
        }
    }
}

fn put(value: &mut Value, member: &str, shown: Option<&Value>) {
    let Some(object) = value.as_object_mut() else { return };
    match shown {
        Some(shown) => drop(object.insert(member.to_owned(), shown.clone())),
        None => drop(object.shift_remove(member)),
    }
}
