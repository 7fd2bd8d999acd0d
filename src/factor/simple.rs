//! Providers with one way as [`Provider`]s: what only rings, and what only takes a code.
//! Absent on purpose: anything of a provider itself.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Code, Line, Prompt, Provider, Push, Question, Verdict, Way};
use crate::clock::Clock;

/// Codes that one question may try.
const TRIES: usize = 3;

/// A provider that rings.
pub struct Rings(pub Arc<dyn Push>);

#[async_trait]
impl Provider for Rings {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn ways(&self) -> &[Way] {
        &[Way::Push]
    }

    async fn ask(&self, question: &Question, _way: Way, line: &mut Line) -> Verdict {
        line.compare(question.number).await;
        line.step(format!("{} is asked", self.name())).await;
        self.0.ask(question).await
    }
}

/// A provider that takes a code, [`TRIES`] times at most.
pub struct Typed(pub Arc<dyn Code>, pub Clock);

#[async_trait]
impl Provider for Typed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn ways(&self) -> &[Way] {
        &[Way::Code]
    }

    async fn ask(&self, question: &Question, _way: Way, line: &mut Line) -> Verdict {
        let mut last = Verdict::Denied;
        for prompt in [Prompt::Code, Prompt::Again, Prompt::Again].into_iter().take(TRIES) {
            let code = match line.ask(prompt).await {
                Ok(code) => code,
                Err(cause) => return Verdict::Failed(cause),
            };
            if question.expires <= self.1.now() {
                return Verdict::TimedOut;
            }
            last = self.0.check(&question.user, &code, self.1.now()).await;
            line.step(format!("{}: a code was checked", self.name())).await;
            if last == Verdict::Allowed {
                return last;
            }
        }
        last
    }
}
