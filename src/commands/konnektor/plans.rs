//! What people read of a restore: the plan, the questions, what came of each step; with a gateway and without one.
//! Absent on purpose: doing it.

use super::super::{Gone, Out};
use crate::config::Language;
use crate::konnektor::restore::{Event, Kind, Outcome, Plan, StepResult};
use crate::prompt::printable;

/// The plan as people read it: what is written and how it changes, what is not, what to know.
pub(crate) async fn show(out: &Out, (name, file): (&str, &str), plan: &Plan) -> Result<(), Gone> {
    let german = out.language == Language::German;
    out.line(format!("{name} ← {file}")).await?;
    for note in &plan.notes {
        out.line(format!("! {}", printable(&note.sentence(german)))).await?;
    }
    for step in &plan.steps {
        out.line(step.sentence(german)).await?;
        super::diff::show(&step.diff, out).await?;
    }
    for (service, why) in &plan.left_out {
        out.line(format!("- {service}: {}", why.sentence(german))).await?;
    }
    if !plan.same.is_empty() {
        let same: Vec<&str> = plan.same.iter().map(crate::names::ServiceName::as_str).collect();
        out.line(format!("= {}", same.join(", "))).await?;
    }
    Ok(())
}

/// What is asked before anything is written; a second question where certificates are deleted.
pub(crate) fn questions(plan: &Plan, name: &str, language: Language) -> Vec<String> {
    let deletes = plan.steps.iter().any(|step| step.kind == Kind::DeleteCertificates);
    let mut questions = vec![match language {
        Language::English => format!("Write {} services to {name}? Type {name}: ", plan.steps.len()),
        Language::German => {
            format!("{} Dienste auf {name} schreiben? Tippen Sie {name}: ", plan.steps.len())
        }
    }];
    if deletes {
        questions.push(match language {
            Language::English => {
                format!("ALL client certificates of {name} are deleted first. Type {name} again: ")
            }
            Language::German => format!(
                "ALLE Clientzertifikate von {name} werden zuerst gelöscht. Tippen Sie noch einmal {name}: "
            ),
        });
    }
    questions
}

/// What came of each step.
pub(crate) async fn results(out: &Out, outcome: &Outcome) -> Result<(), Gone> {
    for (service, result) in &outcome.results {
        out.line(format!("{service}\t{}", printable(&result.sentence(out.language == Language::German))))
            .await?;
        if let StepResult::Differs(diff) = result {
            super::diff::show(diff, out).await?;
        }
    }
    Ok(())
}

/// How far it is, as a bar and as a line.
pub(crate) fn told(event: &Event<'_>, german: bool) -> (String, String) {
    let line = event.sentence(german);
    let bar = if let Event::Writing { n, of, .. } = event {
        format!("[{:<of$}] {line}", "#".repeat(*n), of = *of)
    } else {
        line.clone()
    };
    (bar, line)
}
