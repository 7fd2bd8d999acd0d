//! One question to Duo: may this person confirm, a transaction by the way that was chosen, polls until it is decided.
//! Absent on purpose: how a call is signed, sent and bounded.

use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use super::Duo;
use super::answer::{Device, Preauth, Progress, Stands};
use super::api::{Call, Head, Once, Patience};
use super::signature::{Params, encode};
use crate::factor::message::shown;
use crate::factor::{Cause, Line, Prompt, Purpose, Question, Say, Verdict, Way};

/// Codes that one question may try.
const TRIES: usize = 3;
/// Polls that one question may cost.
const POLLS: u32 = 20;
/// The least time between two polls that say the same: Duo holds each, another one may not.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// One question on its way.
pub(super) struct Asking<'a> {
    pub(super) duo: &'a Duo,
    pub(super) question: &'a Question,
    /// The person's name at Duo.
    pub(super) user: String,
    pub(super) line: &'a mut Line,
    pub(super) patience: Patience,
}

impl Asking<'_> {
    /// From the first word to the verdict.
    pub(super) async fn run(&mut self, way: Way) -> Result<Verdict, Cause> {
        if way == Way::Sms && !self.line.reach().types {
            return Err(Cause::NoPlace);
        }
        let preauth = self.preauth(way).await?;
        self.line.step(format!("duo: preauth says {}", preauth.result)).await;
        match preauth.result.as_str() {
            "auth" => {}
            "allow" => return self.passed_unasked(),
            "deny" => {
                self.remark(preauth.status_msg).await;
                return Err(Cause::NotAllowed);
            }
            "enroll" => {
                let portal = preauth.enroll_portal_url.filter(|url| url.starts_with("https://"));
                if let Some(url) = portal {
                    self.line.say(Say::Enrol(url)).await;
                }
                return Err(Cause::NotEnrolled);
            }
            _ => return Err(Cause::Malformed),
        }
        match way {
            Way::Push => self.push(&preauth).await,
            Way::Sms => self.sms(&preauth).await,
            Way::Code => self.codes().await,
        }
    }

    /// May this person confirm?
    async fn preauth(&mut self, way: Way) -> Result<Preauth, Cause> {
        let mut params = self.person();
        if way == Way::Push && self.line.reach().shows {
            params = params.with("client_supports_verified_push", "1");
        }
        self.post("/auth/v2/preauth", params, Once::MayRepeat).await
    }

    async fn push(&mut self, preauth: &Preauth) -> Result<Verdict, Cause> {
        self.has(preauth, "push")?;
        let verified = preauth.verified()?;
        match &verified {
            Some((code, _)) => self.line.enter(code).await?,
            None => self.line.compare(self.question.number).await,
        }
        let kind = match self.question.purpose {
            Purpose::Login => "Login",
            Purpose::Command { .. } => "Command",
        };
        let params = Params::default()
            .with("device", self.duo.device.as_str())
            .with("type", kind)
            .with("pushinfo", pushinfo(self.question))
            .with_some("txid", verified.map(|(_, txid)| txid));
        let (stands, message) = self.auth("push", params).await?;
        self.verdict(stands, message).await
    }

    async fn sms(&mut self, preauth: &Preauth) -> Result<Verdict, Cause> {
        self.has(preauth, "sms")?;
        let params = Params::default().with("device", self.duo.device.as_str());
        match self.auth("sms", params).await? {
            (Stands::Sent, _) => {}
            // Nobody has typed anything yet.
            (Stands::Allowed, _) => return Err(Cause::Malformed),
            (other, message) => return self.verdict(other, message).await,
        }
        let to = self.only_phone(preauth);
        self.line.say(Say::Sent(to)).await;
        self.codes().await
    }

    /// Takes codes until one is right, three at most.
    async fn codes(&mut self) -> Result<Verdict, Cause> {
        for prompt in [Prompt::Code, Prompt::Again, Prompt::Again].into_iter().take(TRIES) {
            let code = self.line.ask(prompt).await?;
            let code = code.reveal().trim();
            // Duo has codes of digits and of letters; what is no code is not sent there.
            if !(1..=64).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
                self.line.step("duo: what was typed is no code").await;
                continue;
            }
            let (stands, message) = self.auth("passcode", Params::default().with("passcode", code)).await?;
            if stands != Stands::Denied {
                return self.verdict(stands, message).await;
            }
        }
        Ok(Verdict::Denied)
    }

    async fn verdict(&mut self, stands: Stands, message: Option<String>) -> Result<Verdict, Cause> {
        match stands {
            Stands::Allowed => Ok(Verdict::Allowed),
            Stands::Bypassed => self.passed_unasked(),
            Stands::Denied => Ok(Verdict::Denied),
            Stands::LockedOut => {
                self.remark(message).await;
                Err(Cause::NotAllowed)
            }
            Stands::Fraud => Ok(Verdict::Fraud),
            Stands::TimedOut => Ok(Verdict::TimedOut),
            // A code was sent that nobody asked for, or Duo still waits.
            Stands::Sent | Stands::Waiting => Err(Cause::Malformed),
        }
    }

    fn passed_unasked(&self) -> Result<Verdict, Cause> {
        if self.duo.bypass { Ok(Verdict::Allowed) } else { Err(Cause::Bypassed) }
    }

    /// Opens a transaction, once, and waits until it is decided.
    async fn auth(
        &mut self,
        factor: &'static str,
        params: Params,
    ) -> Result<(Stands, Option<String>), Cause> {
        let params = self.person_too(params).with("factor", factor).with("async", "1");
        let opened: Progress = self.post("/auth/v2/auth", params, Once::Only).await?;
        self.line.step(format!("duo: {factor} is under way")).await;
        self.is_about_us(&opened)?;
        self.decided(opened.opened()?).await
    }

    async fn decided(&mut self, txid: &str) -> Result<(Stands, Option<String>), Cause> {
        let mut last = None;
        for _ in 0..POLLS {
            let begun = Instant::now();
            let poll = Call {
                method: Method::GET,
                path: "/auth/v2/auth_status",
                params: Params::default().with("txid", txid),
                head: Head::Held,
            };
            let answer = self.duo.api.call::<Progress>(&poll, Once::MayRepeat, &self.patience, self.line);
            let status = match answer.await {
                Ok(progress) => {
                    let stands = self.stands(&progress, txid).await?;
                    if stands != Stands::Waiting {
                        return Ok((stands, progress.status_msg));
                    }
                    progress.status
                }
                Err(trouble) if trouble.is_long_poll_over() => last.clone().flatten(),
                Err(trouble) => return Err(trouble.cause),
            };
            if last.replace(status.clone()) == Some(status) {
                tokio::time::sleep_until(begun + POLL_EVERY).await;
            }
        }
        Ok((Stands::TimedOut, None))
    }

    async fn stands(&mut self, progress: &Progress, txid: &str) -> Result<Stands, Cause> {
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
        self.line.step(format!("duo: {}, {}", part(&progress.result), part(&progress.status))).await;
        if progress.txid.as_deref().is_some_and(|named| named != txid) {
            return Err(Cause::WrongTx);
        }
        self.is_about_us(progress)?;
        progress.stands()
    }

    fn is_about_us(&self, progress: &Progress) -> Result<(), Cause> {
        let another =
            progress.username.as_ref().is_some_and(|name| name.to_lowercase() != self.user.to_lowercase());
        if another { Err(Cause::WrongPerson) } else { Ok(()) }
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &'static str,
        params: Params,
        once: Once,
    ) -> Result<T, Cause> {
        let call = Call { method: Method::POST, path, params, head: Head::AtOnce };
        let answer = self.duo.api.call(&call, once, &self.patience, self.line).await;
        answer.map_err(|trouble| trouble.cause)
    }

    /// Who is asked, from where.
    fn person(&self) -> Params {
        self.person_too(Params::default())
    }

    fn person_too(&self, params: Params) -> Params {
        let ip = self.question.from.ip().to_canonical();
        // Whether Duo takes another form than a dotted quad here is not known to us.
        params.with("username", self.user.as_str()).with_some("ipaddr", ip.is_ipv4().then(|| ip.to_string()))
    }

    /// The devices that may be used.
    fn usable<'p>(&self, preauth: &'p Preauth) -> impl Iterator<Item = &'p Device> {
        let wanted = (self.duo.device != "auto").then(|| self.duo.device.clone());
        let devices = preauth.devices.iter().flatten();
        devices.filter(move |device| wanted.is_none() || device.id == wanted)
    }

    /// Is there a device that can? Where Duo lists none at all, Duo has to know.
    fn has(&self, preauth: &Preauth, what: &str) -> Result<(), Cause> {
        let none_listed = preauth.devices.as_ref().is_none_or(Vec::is_empty);
        if none_listed || self.usable(preauth).any(|device| device.can(what)) {
            Ok(())
        } else {
            Err(Cause::NotEnrolled)
        }
    }

    /// The end of the number that a code goes to, where it can go to one phone alone.
    fn only_phone(&self, preauth: &Preauth) -> Option<String> {
        let mut able = self.usable(preauth).filter(|device| device.can("sms"));
        match (able.next(), able.next()) {
            (Some(only), None) => only.masked(),
            _ => None,
        }
    }

    async fn remark(&mut self, message: Option<String>) {
        if let Some(message) = message.filter(|message| !message.trim().is_empty()) {
            self.line.say(Say::Remark(message)).await;
        }
    }
}

/// What the phone shows beside Duo's own words: `Key=value&…`, itself a value that is encoded again.
fn pushinfo(question: &Question) -> String {
    let mut lines = vec![("Number", question.number.to_string()), ("Firm", question.firm.to_string())];
    if let Purpose::Command { command, site } = &question.purpose {
        lines.extend(site.as_ref().map(|site| ("Site", site.to_string())));
        lines.push(("Command", shown(command)));
    }
    lines.push(("From", question.from.ip().to_canonical().to_string()));
    let lines: Vec<String> =
        lines.into_iter().map(|(key, value)| format!("{key}={}", encode(&value))).collect();
    lines.join("&")
}
