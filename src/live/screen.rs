//! The end of what a terminal was sent, and who follows it. Absent on purpose: waiting. Who is slow loses output and is told so.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// So much is kept to show what is on the screen; nothing before the first output.
const KEPT: usize = 64 * 1024;
/// Pieces that wait for the slowest who watches.
const WAITING: usize = 64;
/// Larger terminals are drawn as this one.
const SIDES_MAX: (u16, u16) = (500, 200);

/// What goes to those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As the terminal got it.
    Output(Bytes),
    /// Columns and rows.
    Size(u32, u32),
}

/// One terminal's screen.
pub struct Screen(Mutex<State>);

struct State {
    kept: VecDeque<u8>,
    /// The beginning was dropped.
    gap: bool,
    size: (u32, u32),
    /// There while somebody watches.
    watched: Option<broadcast::Sender<Piece>>,
    over: bool,
}

/// What a screen shows at one moment.
pub struct Picture {
    kept: Vec<u8>,
    gap: bool,
    /// Columns and rows.
    pub size: (u32, u32),
}

/// What comes after a picture.
pub struct Watcher(broadcast::Receiver<Piece>);

/// So many pieces were not seen; a new picture is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost(pub u64);

impl Screen {
    pub(super) fn new(columns: u32, rows: u32) -> Self {
        let size = (columns, rows);
        Self(Mutex::new(State { kept: VecDeque::new(), gap: false, size, watched: None, over: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shown(&self, bytes: &Bytes) {
        let mut state = self.state();
        state.keep(bytes);
        state.tell(|| Piece::Output(bytes.clone()));
    }

    pub(super) fn resized(&self, columns: u32, rows: u32) {
        let mut state = self.state();
        state.size = (columns, rows);
        state.tell(|| Piece::Size(columns, rows));
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.over, state.watched, state.kept) = (true, None, VecDeque::new());
    }

    /// What is on it, and all that comes after that; `None` if it is over.
    pub fn watch(&self) -> Option<(Picture, Watcher)> {
        let mut state = self.state();
        if state.over {
            return None;
        }
        let picture =
            Picture { kept: state.kept.iter().copied().collect(), gap: state.gap, size: state.size };
        let watched = state.watched.get_or_insert_with(|| broadcast::Sender::new(WAITING));
        Some((picture, Watcher(watched.subscribe())))
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.state().watched.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }
}

impl State {
    fn keep(&mut self, bytes: &[u8]) {
        let bytes = if let Some(start) = bytes.len().checked_sub(KEPT + 1) {
            self.gap = true;
            bytes.get(start + 1..).unwrap_or_default()
        } else {
            bytes
        };
        let over = (self.kept.len() + bytes.len()).saturating_sub(KEPT);
        if over > 0 {
            self.gap = true;
            self.kept.drain(..over.min(self.kept.len()));
        }
        let wanted = self.kept.len() + bytes.len();
        if wanted > self.kept.capacity() {
            let capacity = (2 * self.kept.capacity()).max(wanted).min(KEPT);
            self.kept.reserve_exact(capacity - self.kept.len());
        }
        self.kept.extend(bytes);
    }

    /// Nobody is waited for: a broadcast drops its oldest piece.
    fn tell(&mut self, piece: impl FnOnce() -> Piece) {
        if let Some(watched) = &self.watched
            && watched.send(piece()).is_err()
        {
            self.watched = None;
        }
    }
}

impl Picture {
    /// Bytes that draw it on an empty screen. Slow: some milliseconds.
    pub fn drawn(&self) -> Vec<u8> {
        let side = |wanted: u32, most: u16, usual: u16| {
            let wanted = u16::try_from(wanted).unwrap_or(most);
            let wanted = if wanted == 0 { usual } else { wanted };
            NonZero::new(wanted.clamp(2, most)).unwrap_or(NonZero::<u16>::MIN)
        };
        let (columns, rows) = self.size;
        let (columns, rows) = (side(columns, SIDES_MAX.0, 80), side(rows, SIDES_MAX.1, 24));
        let mut model = vt100::Parser::new(rows, columns, 0);
        let mut from = 0;
        if self.gap {
            // It may begin within a sequence; and a prompt is at the end, so below.
            model.process(&vec![b'\n'; rows.get().into()]);
            from = memchr::memchr(b'\n', &self.kept).map_or(0, |at| at + 1);
        }
        model.process(self.kept.get(from..).unwrap_or_default());
        let screen = model.screen();
        let mut drawn = Vec::new();
        if screen.alternate_screen() {
            drawn.extend_from_slice(b"\x1b[?1049h");
        }
        drawn.extend_from_slice(screen.contents_formatted().as_bytes());
        drawn
    }
}

impl Watcher {
    /// The next piece; `None` when the terminal is gone.
    pub async fn next(&mut self) -> Result<Option<Piece>, Lost> {
        match self.0.recv().await {
            Ok(piece) => Ok(Some(piece)),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(pieces)) => Err(Lost(pieces)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(picture: &Picture) -> String {
        let mut model = vt100::Parser::new(NonZero::new(24).unwrap(), NonZero::new(80).unwrap(), 0);
        model.process(&picture.drawn());
        model.screen().contents()
    }

    #[tokio::test]
    async fn who_comes_late_sees_the_screen_and_then_what_follows() {
        let screen = Screen::new(80, 24);
        screen.shown(&Bytes::from_static(b"one\r\ntwo \x1b[31mred"));
        let (picture, mut watcher) = screen.watch().unwrap();
        assert_eq!(text(&picture), "one\ntwo red");
        let more = Bytes::from_static(b"more");
        screen.shown(&more);
        screen.resized(100, 30);
        assert_eq!(watcher.next().await, Ok(Some(Piece::Output(more))));
        assert_eq!(watcher.next().await, Ok(Some(Piece::Size(100, 30))));
        assert_eq!(screen.watchers(), 1);
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_output_is_told_and_costs_bounded_memory() {
        let screen = Screen::new(80, 24);
        let (_, mut watcher) = screen.watch().unwrap();
        for n in 0..1000 {
            screen.shown(&Bytes::from(format!("line {n}\r\n")));
        }
        assert_eq!(watcher.next().await, Err(Lost(1000 - WAITING as u64)));
        assert!(text(&screen.watch().unwrap().0).ends_with("line 999"));
    }

    #[test]
    fn nothing_is_held_before_output_came_and_never_more_than_kept() {
        let screen = Screen::new(80, 24);
        assert_eq!(screen.state().kept.capacity(), 0);
        screen.shown(&Bytes::from_static(b"$ "));
        assert!(screen.state().kept.capacity() < 64);
        for size in [1, 1000, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT, 77] {
            screen.shown(&Bytes::from(vec![b'x'; size]));
            let state = screen.state();
            assert!(state.kept.len() <= KEPT && state.kept.capacity() <= KEPT, "{size}");
        }
        screen.shown(&Bytes::from_static(b"\r\nthe end"));
        assert!(text(&screen.watch().unwrap().0).ends_with("the end"));
        assert!(screen.state().watched.is_some());
        screen.shown(&Bytes::from_static(b"."));
        assert!(screen.state().watched.is_none(), "nobody watches any more");
    }

    proptest::proptest! {
        #[test]
        fn any_output_can_be_drawn(bytes: Vec<u8>, columns: u32, rows: u32, gap: bool) {
            Picture { kept: bytes, gap, size: (columns, rows) }.drawn();
        }
    }
}
