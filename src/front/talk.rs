//! A person at a terminal: the prompt, line by line, or one line that may ask something back.
//! Absent on purpose: what a line does; it goes to [`Front::serve`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Front;
use super::seat::Seat;
use super::serve::Given;
use super::session::Job;
use crate::commands::{Foreground, Gone, Out, Sink, Terminal, exit, masked, words};
use crate::config::Language;
use crate::identity::Who;
use crate::prompt::{Keyboard, Prompt, Read};

/// The prompt: line by line, the same commands as by exec. All that is shown goes through one queue, in its order.
pub(super) async fn talk(
    job: Job,
    prompt: Prompt,
    screen: mpsc::Sender<Bytes>,
    mut shown: mpsc::Receiver<Bytes>,
    line: Option<Box<[u8]>>,
) -> u32 {
    let screen = Arc::new(Screen(screen));
    let seat = job.seat(screen.clone());
    let Job { front, who, out, outgoing, keyboard, .. } = job;
    let out = Out::new(screen, out.language, Terminal::Screen);
    let pump = async move {
        while let Some(bytes) = shown.recv().await {
            if outgoing.output(bytes).await.is_err() {
                break;
            }
        }
    };
    // Both at once, and to the end of both: the last words are shown, and a client that takes none ends the talk.
    let talked = async move {
        match line {
            None => converse(front, who, out, prompt, keyboard, seat).await,
            Some(line) => {
                let mut prompt = prompt;
                serve_line(&front, &line, &who, &out, &mut prompt, keyboard.as_ref(), seat.as_ref()).await
            }
        }
    };
    let (code, ()) = tokio::join!(talked, pump);
    code
}

/// A screen that the prompt and the commands share.
struct Screen(mpsc::Sender<Bytes>);

#[async_trait::async_trait]
impl Sink for Screen {
    async fn output(&self, data: Bytes) -> Result<(), Gone> {
        self.0.send(data).await.map_err(|_| Gone)
    }

    async fn errors(&self, data: Bytes) -> Result<(), Gone> {
        self.output(data).await
    }
}

async fn converse(
    front: Arc<Front>,
    who: Who,
    out: Out,
    mut prompt: Prompt,
    keyboard: Option<Arc<Keyboard>>,
    seat: Option<Seat>,
) -> u32 {
    prompt.set_completions(words());
    let greeting = match out.language {
        Language::English => format!("{}: help shows what there is, Ctrl-D leaves.", who.user()),
        Language::German => format!("{}: help zeigt, was es gibt; Strg-D beendet.", who.user()),
    };
    if out.say(greeting).await.is_err() {
        return exit::FAILED;
    }
    let idle = front.keeper.limits().idle;
    let mut last = exit::DONE;
    loop {
        let line = tokio::select! {
            line = prompt.read_line("pforte> ") => line,
            () = idle_end(idle, &out) => return exit::DONE,
        };
        let line = match line {
            Read::Line(line) => line,
            Read::Interrupted => continue,
            Read::End => return last,
        };
        last = match line.trim() {
            "" => last,
            "exit" | "quit" | "logout" => return last,
            command => {
                let line = command.as_bytes();
                if masked(line).is_some() {
                    prompt.forget_last();
                }
                serve_line(&front, line, &who, &out, &mut prompt, keyboard.as_ref(), seat.as_ref()).await
            }
        };
        if last == exit::CANNOT_JOURNAL {
            return last;
        }
    }
}

/// One line at a prompt, ended by Ctrl-C too.
async fn serve_line(
    front: &Arc<Front>,
    line: &[u8],
    who: &Who,
    out: &Out,
    prompt: &mut Prompt,
    keyboard: Option<&Arc<Keyboard>>,
    seat: Option<&Seat>,
) -> u32 {
    let interrupted = async {
        match keyboard {
            Some(keyboard) if keyboard.interrupted().wait_for(|pressed| *pressed).await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    };
    let foreground = Foreground::default();
    let given = Given { prompt: Some(prompt), seat, input: None, foreground: &foreground };
    tokio::select! {
        code = front.serve(line, who, out, given) => code,
        () = interrupted => {
            foreground.interrupt();
            super::told(out, "^C", exit::FAILED).await
        }
    }
}

/// Warns a minute before the end, then ends.
async fn idle_end(idle: Duration, out: &Out) {
    let warning = idle.min(Duration::from_mins(1));
    tokio::time::sleep(idle.saturating_sub(warning)).await;
    let text = out.pick(
        "\nThis prompt ends in a minute, for nothing was typed.",
        "\nDiese Eingabe endet in einer Minute, weil nichts getippt wurde.",
    );
    if out.say(text).await.is_err() {
        return;
    }
    tokio::time::sleep(warning).await;
}
