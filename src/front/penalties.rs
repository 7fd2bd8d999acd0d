//! What follows from misbehaviour: penalties that outlast a restart, and the end of what a thief may have opened.
//! Absent on purpose: counting; that is the doorkeeper's and the second factor's.

use super::Front;
use super::limits::{Offence, Penalty};
use crate::identity::Principal;
use crate::identity::second_factor::NotConfirmed;
use crate::names::{Fingerprint, Source, Username};
use crate::sentences;
use crate::state::UsualRecord;

impl Front {
    /// Somebody reported a question that they had not caused: every key of theirs is barred everywhere for a day, their
    /// connections and jobs end. A key that the operator registers for them from now on is not barred.
    pub fn fraud(&self, user: &Username, key: &Fingerprint) {
        tracing::error!(%user, %key, "FRAUD reported: the person is locked for a day, their connections end; look into it");
        let mut keys = self.keys.load().keys_of(user);
        if !keys.contains(key) {
            keys.push(key.clone());
        }
        let orders = self.works.orders.clone();
        let whose = user.clone();
        tokio::spawn(async move { orders.close(&whose, None).await });
        for key in &keys {
            let Penalty { source, key: barred, reason, until, .. } = self.keeper.report(key);
            self.state.penalise(&source, &barred, until, reason);
        }
        self.works.jobs.end(|who| (who.user() == user).then_some("fraud-reported"));
        self.registry.end(|who| (who.user() == user).then(|| self.fraud_text()));
    }

    /// What other gateways have found: who has to wait there waits here; who was reported there is barred here, and ends.
    pub fn heard_of(&self, penalties: &[crate::state::Penalty]) {
        for penalty in penalties {
            self.keeper.remember(&penalty.source, &penalty.key, penalty.until);
        }
        self.end_reported();
    }

    /// Whoever is in by a key that was reported, here or at another gateway, is out.
    pub(super) fn end_reported(&self) {
        let reported = |key: &Fingerprint| self.keeper.is_reported(key);
        self.works.orders.end_unless(|_, key, _| !reported(key));
        self.works.jobs.end(|who| reported(who.key()).then_some("fraud-reported"));
        self.registry.end(|who| reported(who.key()).then(|| self.fraud_text()));
    }

    fn fraud_text(&self) -> (&'static str, String) {
        ("fraud-reported", sentences::not_confirmed(&NotConfirmed::Fraud, self.language))
    }

    pub(super) fn penalise(&self, source: Source, key: Option<&Fingerprint>, offence: Offence) {
        let Penalty { source, key, reason, until, in_force } = self.keeper.penalise(source, key, offence);
        // Small sins that are still collected end with this run.
        if in_force {
            self.state.penalise(&source, &key, until, reason);
        }
    }

    /// Where somebody has confirmed is where they work, after a restart too.
    pub(super) async fn remember_place(&self, principal: &Principal) {
        if !self.factor.load().is_to_be_noted(principal) {
            return;
        }
        let usual = UsualRecord {
            user: principal.user().to_string(),
            key: principal.key().to_string(),
            address: principal.source().to_string(),
            confirmed: principal.since(),
        };
        if let Err(e) = self.state.note_usual(&usual).await {
            tracing::error!(user = %principal.user(), "a confirmed login is not remembered: {e}");
        }
    }

    /// A lock that came of questions in vain is in force after a restart too, wherever they were asked, and whether anybody
    /// waited for the answer or not.
    pub(super) fn remember_locks(&self) {
        for (key, source, until) in self.factor.load().fresh_locks() {
            self.state.penalise(&source.to_string(), key.as_str(), until, "not-confirmed");
        }
    }
}
