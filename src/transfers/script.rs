//! Stdin of a program that is not known (`ssh host < script.sh`, `tar x`), and totals of a protocol that is not read.
//! Absent on purpose: what a script does.

use super::event::{Event, Script, Totals};
use super::order::Hasher;

/// The most bytes of a script that are kept: longer ones are installers with an archive inside.
pub const KEPT_MAX: usize = 1 << 20;
/// So much of the beginning tells text from anything else.
const LOOKED_AT: usize = 4096;
/// An SFTP client's first packet without its version: length 5, `SSH_FXP_INIT`, a version below 256.
const SFTP_INIT: [u8; 8] = [0, 0, 0, 5, 1, 0, 0, 0];

/// Who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Of {
    /// A program: any bytes may be for it.
    #[default]
    Program,
    /// A shell: whatever they look like, it runs them.
    Shell,
    /// A terminal: keys, which are not kept, unless it is SFTP.
    Terminal,
}

/// Keeps and hashes what the client sends.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    of: Of,
    kept: Vec<u8>,
    binary: bool,
    hasher: Hasher,
    bytes: u64,
}

impl Stdin {
    /// For a shell.
    pub(super) fn of_shell() -> Self {
        Self { of: Of::Shell, ..Self::default() }
    }

    /// For a terminal.
    pub(super) fn of_terminal() -> Self {
        Self { of: Of::Terminal, ..Self::default() }
    }

    /// Takes a piece. If the beginning is that of SFTP: all that came so far, to be read as such instead.
    pub(super) fn client_sent(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let before = self.kept.len();
        if self.of == Of::Terminal && self.bytes >= SFTP_INIT.len() as u64 {
            self.kept = Vec::new();
            return None;
        }
        self.hasher.update(piece);
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.binary {
            return None;
        }
        let room = KEPT_MAX.saturating_sub(before).min(piece.len());
        self.kept.extend_from_slice(piece.get(..room).unwrap_or_default());
        if self.of != Of::Shell && before < SFTP_INIT.len() && self.kept.starts_with(&SFTP_INIT) {
            let mut all = std::mem::take(&mut self.kept);
            all.extend_from_slice(piece.get(room..).unwrap_or_default());
            return Some(all);
        }
        if self.of == Of::Program
            && before < LOOKED_AT
            && self.kept.len() >= LOOKED_AT
            && !self.looks_like_text()
        {
            self.binary = true;
            self.kept = Vec::new();
        }
        None
    }

    /// UTF-8 without NUL in the first bytes; a character that they cut in two is no fault.
    fn looks_like_text(&self) -> bool {
        let cut = self.kept.len() > LOOKED_AT;
        let beginning = self.kept.get(..LOOKED_AT).unwrap_or(&self.kept);
        let utf8 = match std::str::from_utf8(beginning) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none() && (cut || beginning.len() == LOOKED_AT),
        };
        utf8 && !beginning.contains(&0)
    }

    pub(super) fn end(self) -> Vec<Event> {
        if self.bytes == 0 || self.of == Of::Terminal {
            return Vec::new();
        }
        let text = self.of == Of::Shell || (!self.binary && self.looks_like_text());
        vec![Event::Script(Script {
            kept: text.then_some(self.kept),
            bytes: self.bytes,
            sha256: self.hasher.finish(),
        })]
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Total(Totals);

impl Total {
    pub(super) fn client_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.0.from_client = self.0.from_client.saturating_add(bytes.len() as u64);
        Vec::new()
    }

    pub(super) fn target_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.0.from_target = self.0.from_target.saturating_add(bytes.len() as u64);
        Vec::new()
    }

    pub(super) fn end(self) -> Vec<Event> {
        vec![Event::Totals(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tap;
    use super::*;

    fn script(bytes: &[u8]) -> Script {
        told_of(Tap::for_exec(b"sh -s"), bytes)
    }

    fn told_of(mut tap: Tap, bytes: &[u8]) -> Script {
        for piece in bytes.chunks(1000) {
            assert!(tap.client_sent(piece).is_empty());
        }
        assert!(tap.held() <= 2 * KEPT_MAX);
        match tap.end().as_slice() {
            [Event::Script(script)] => script.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn hash(bytes: &[u8]) -> [u8; 32] {
        use sha2::Digest as _;
        sha2::Sha256::digest(bytes).into()
    }

    #[test]
    fn a_script_is_kept_with_its_hash() {
        let text = "echo Müller\n".repeat(1000);
        let told = script(text.as_bytes());
        assert_eq!(told.kept.as_deref(), Some(text.as_bytes()));
        assert_eq!((told.bytes, told.sha256), (13_000, hash(text.as_bytes())));
        assert_eq!(script("ä".as_bytes()).kept.as_deref(), Some("ä".as_bytes()));
    }

    #[test]
    fn a_long_script_is_cut_and_hashed_whole() {
        let text = "ä".repeat(KEPT_MAX);
        let told = script(text.as_bytes());
        assert_eq!(told.kept.as_deref(), Some(&text.as_bytes()[..KEPT_MAX]));
        assert_eq!((told.bytes, told.sha256), (2 * KEPT_MAX as u64, hash(text.as_bytes())));
    }

    #[test]
    fn a_character_cut_in_two_where_the_look_ends_is_text() {
        let text = format!("x{}", "ä".repeat(4000));
        assert!(script(text.as_bytes()).kept.is_some());
        assert!(script(&text.as_bytes()[..LOOKED_AT]).kept.is_some());
    }

    #[test]
    fn binary_data_is_hashed_only() {
        for bytes in [
            vec![0xff; 9000],
            vec![0xff; 9],
            b"tar\0".repeat(9000),
            b"a\0".to_vec(),
            "ä".as_bytes()[..1].to_vec(),
        ] {
            let told = script(&bytes);
            assert_eq!((told.kept, told.bytes, told.sha256), (None, bytes.len() as u64, hash(&bytes)));
        }
    }

    #[test]
    fn what_a_shell_runs_is_kept_whatever_it_looks_like() {
        for bytes in [&b"\0\necho NUL\n"[..], b"\0\0\0\x05\x01\0\0\0\x03\necho SFTP\n", &[0xff; 9000]] {
            assert_eq!(told_of(Tap::for_shell(), bytes).kept.as_deref(), Some(bytes));
        }
    }

    #[test]
    fn a_terminals_keys_are_no_script_and_sftp_over_it_is_seen() {
        for command in [&b"sh -s"[..], b"sudo -s"] {
            let mut tap = Tap::for_exec(command).without_scripts();
            for key in b"geheim\rgeheim\r" {
                assert!(tap.client_sent(&[*key]).is_empty());
            }
            assert_eq!(tap.held(), 0);
            assert!(tap.end().is_empty());
        }
        let mut tap = Tap::for_exec(b"exec sftp-server; true").without_scripts();
        assert!(tap.client_sent(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).is_empty());
        assert!(!tap.client_sent(&[0, 0, 0, 5, 9, 0, 0, 0, 3]).is_empty(), "it is read as SFTP");
    }

    #[test]
    fn nothing_sent_is_no_script() {
        assert!(Tap::for_shell().end().is_empty());
    }

    #[test]
    fn rsync_has_totals_only() {
        let mut tap = Tap::for_exec(b"rsync --server -vlogDtpre.iLsfxC . /srv");
        assert!(tap.client_sent(b"12345").is_empty());
        assert!(tap.target_sent(b"123").is_empty());
        assert_eq!(tap.end(), [Event::Totals(Totals { from_client: 5, from_target: 3 })]);
    }
}
