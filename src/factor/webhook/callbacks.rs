//! A provider's call at a question's own path: signed, fresh, for this question and its person, and final.
//! Absent on purpose: the listener and the path (`callback`), and any state after the question is over.

use axum::http::{Method, StatusCode};

use crate::clock::Clock;
use crate::factor::callback::{Call, Heard, Reply};
use crate::factor::http::only;
use crate::factor::wire::{self, Answer, Key};
use crate::factor::{Cause, Question, Verdict};

/// Judges one call. Nothing of its body is looked at before the signature is good.
pub(super) fn judge(question: &Question, key: &Key, clock: &Clock, call: &Call<'_>) -> Heard {
    match answer(question, key, clock, call) {
        Ok(verdict) => Heard::Answer(verdict, Reply::bare(StatusCode::OK)),
        Err(refused) => Heard::Nothing(Reply::bare(refused)),
    }
}

fn answer(question: &Question, key: &Key, clock: &Clock, call: &Call<'_>) -> Result<Verdict, StatusCode> {
    if call.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let (timestamp, signature) = (only(call.headers, wire::TIMESTAMP), only(call.headers, wire::SIGNATURE));
    let now = clock.now();
    if let Err(cause) = key.verify(now, timestamp, signature, call.body) {
        tracing::warn!(%cause, "callback refused");
        return Err(StatusCode::UNAUTHORIZED);
    }
    let named: Answer = serde_json::from_slice(call.body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let signed_at = named.timestamp.ok_or(StatusCode::BAD_REQUEST)?;
    wire::fresh(now, signed_at).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let verdict = named.result.and_then(wire::Word::verdict).ok_or(StatusCode::BAD_REQUEST)?;
    match Answer::to(question, call.body) {
        Ok(_) => Ok(verdict),
        Err(Cause::WrongTx) => Err(StatusCode::NOT_FOUND),
        Err(cause) => {
            tracing::warn!(%cause, "callback refused");
            Err(StatusCode::FORBIDDEN)
        }
    }
}
