//! A terminal for tests: types bytes into a prompt and shows its output on an emulated screen.
//! Absent on purpose: time. A read is polled by hand until it has nothing more to say, so nothing is waited for.

use std::num::NonZero;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use pforte::prompt::{Keyboard, Prompt, Read, Size, Typed};
use tokio::sync::mpsc;

/// What happens at a terminal.
pub enum Input<'a> {
    Keys(&'a [u8]),
    Resize(Size),
}

pub struct Terminal {
    pub prompt: Prompt,
    pub keyboard: Keyboard,
    pub output: mpsc::Receiver<Bytes>,
    pub screen: vt100::Parser,
    /// All that came, as it came.
    pub raw: Vec<u8>,
    /// Its clock is there to be asked; it never has to run.
    runtime: tokio::runtime::Runtime,
}

impl Terminal {
    pub fn new(term: &str, cols: u16, rows: u16) -> Self {
        let (sender, output) = mpsc::channel(4);
        let (prompt, keyboard) = Prompt::open(term, Size { cols, rows }, sender);
        Self {
            prompt,
            keyboard,
            output,
            screen: vt100::Parser::new(side(rows), side(cols), 0),
            raw: Vec::new(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        }
    }

    pub fn xterm() -> Self {
        Self::new("xterm-256color", 40, 8)
    }

    /// Types each piece when all before it has been shown; gives what the read came to, none if it still waits.
    pub fn type_pieces(&mut self, secret: bool, pieces: &[&[u8]]) -> Option<Read> {
        let inputs: Vec<Input<'_>> = pieces.iter().map(|p| Input::Keys(p)).collect();
        self.inputs(secret, &inputs)
    }

    /// The same, with resizes.
    pub fn inputs(&mut self, secret: bool, inputs: &[Input<'_>]) -> Option<Read> {
        let Self { prompt, keyboard, output, screen, raw, runtime } = self;
        let _entered = runtime.enter();
        let mut read = pin!(async move {
            if secret { prompt.read_secret("> ").await } else { prompt.read_line("> ").await }
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut settle = |screen: &mut vt100::Parser| {
            loop {
                let poll = read.as_mut().poll(&mut context);
                let mut more = false;
                while let Ok(bytes) = output.try_recv() {
                    assert!(!bytes.is_empty());
                    screen.process(&bytes);
                    raw.extend_from_slice(&bytes);
                    more = true;
                }
                match poll {
                    Poll::Ready(read) => return Some(read),
                    Poll::Pending if !more => return None,
                    Poll::Pending => {}
                }
            }
        };
        let mut done = settle(screen);
        for input in inputs {
            if done.is_some() {
                break;
            }
            match input {
                Input::Keys(bytes) => assert_eq!(keyboard.type_bytes(bytes), Typed::Taken),
                Input::Resize(size) => {
                    screen.screen_mut().set_size(side(size.rows), side(size.cols));
                    keyboard.resize(*size);
                }
            }
            done = settle(screen);
        }
        done
    }

    /// One piece; see `type_pieces`.
    pub fn types(&mut self, bytes: impl AsRef<[u8]>) -> Option<Read> {
        self.type_pieces(false, &[bytes.as_ref()])
    }

    /// The line that typing `bytes` and Enter gives.
    pub fn line(&mut self, bytes: impl AsRef<[u8]>) -> String {
        match self.type_pieces(false, &[bytes.as_ref(), b"\r"]) {
            Some(Read::Line(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    /// The last row with the cursor in it, trimmed, and the cursor's column.
    pub fn row(&self) -> (String, u16) {
        let (row, col) = self.screen.screen().cursor_position();
        let cols = self.screen.screen().size().1;
        let text = self.screen.screen().rows(0, cols.into()).nth(row.into()).unwrap();
        (text.trim_end().to_owned(), col)
    }

    /// All rows, without what is blank at the end.
    pub fn shown(&self) -> String {
        self.screen.screen().contents().trim_end().to_owned()
    }

    pub fn bells(&self) -> usize {
        String::from_utf8_lossy(&self.raw).matches('\x07').count()
    }
}

/// The line itself.
pub fn text(read: Option<Read>) -> String {
    match read {
        Some(Read::Line(line)) => line,
        other => panic!("{other:?}"),
    }
}

fn side(characters: u16) -> NonZero<u16> {
    NonZero::new(characters).unwrap()
}
