//! What a client wants on a session channel: all that it says before its command, and the command.
//! Absent on purpose: whether it may.

use russh::{ChannelMsg, Pty};

use super::scribe::Scribe;
use crate::asks::Deed;
use crate::flow::{Inbox, Piece};
use crate::live;

/// Variables that one channel may set.
const VARIABLES: usize = 64;

/// May a client set this at a host? R64: a list, and values that mean nothing to a shell.
pub fn may_set(name: &str, value: &str) -> bool {
    let known = name == "LANG" || name == "EMAIL" || (name.starts_with("LC_") && name.len() <= 32);
    known
        && value.len() <= 128
        && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+@=:/,".contains(&b))
}

/// A terminal as the client asked for it (RFC 4254 §6.2).
pub struct Terminal {
    pub term: String,
    pub columns: u32,
    pub rows: u32,
    pub width: u32,
    pub height: u32,
    pub modes: Vec<(Pty, u32)>,
}

/// All that a client said before its command, and the command.
pub struct Wish {
    pub terminal: Option<Terminal>,
    pub variables: Vec<(String, String)>,
    /// What is not forwarded here.
    pub refused: Vec<&'static str>,
    pub deed: Deed,
    pub as_asked: Vec<u8>,
    /// A subsystem's name.
    pub subsystem: Option<String>,
}

impl Wish {
    fn refuses(&mut self, what: &'static str) {
        if !self.refused.contains(&what) {
            self.refused.push(what);
        }
    }

    /// As an operator is shown it.
    pub fn about(&self, scribe: &Scribe, since: jiff::Timestamp) -> live::About {
        let kind = match self.deed {
            Deed::Shell => "shell",
            Deed::Exec => "exec",
            Deed::Subsystem => "subsystem",
            Deed::Forward(_) => "forward",
        };
        let terminal = self.terminal.as_ref().map(|terminal| (terminal.columns, terminal.rows));
        let (command, recording) = (self.as_asked.clone(), scribe.recording());
        live::About { kind, command, terminal, recording, since }
    }
}

/// Reads requests until one starts something.
pub async fn wish(inbox: &mut Inbox) -> Option<Wish> {
    let mut wish = Wish {
        terminal: None,
        variables: Vec::new(),
        refused: Vec::new(),
        deed: Deed::Shell,
        as_asked: b"shell".to_vec(),
        subsystem: None,
    };
    loop {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "russh's enum: what else a client may say here starts nothing"
        )]
        match inbox.next().await? {
            Piece::Other(ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                pix_width,
                pix_height,
                terminal_modes,
                ..
            }) => {
                wish.terminal = Some(Terminal {
                    term: term.chars().filter(|c| !c.is_control()).take(64).collect(),
                    columns: col_width,
                    rows: row_height,
                    width: pix_width,
                    height: pix_height,
                    modes: terminal_modes,
                });
            }
            Piece::Other(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                if let Some(terminal) = &mut wish.terminal {
                    (terminal.columns, terminal.rows) = (col_width, row_height);
                    (terminal.width, terminal.height) = (pix_width, pix_height);
                }
            }
            Piece::Other(ChannelMsg::SetEnv { variable_name: name, variable_value: value, .. })
                if wish.variables.len() < VARIABLES && may_set(&name, &value) =>
            {
                wish.variables.push((name, value));
            }
            Piece::Other(ChannelMsg::AgentForward { .. }) => wish.refuses("agent"),
            Piece::Other(ChannelMsg::RequestX11 { .. }) => wish.refuses("X11"),
            Piece::Other(ChannelMsg::RequestShell { .. }) => return Some(wish),
            Piece::Other(ChannelMsg::Exec { command, .. }) => {
                return Some(Wish { deed: Deed::Exec, as_asked: command, ..wish });
            }
            Piece::Other(ChannelMsg::RequestSubsystem { name, .. }) => {
                let as_asked = format!("subsystem {name}").into_bytes();
                return Some(Wish { deed: Deed::Subsystem, as_asked, subsystem: Some(name), ..wish });
            }
            Piece::Other(ChannelMsg::Close) => return None,
            _ => {}
        }
    }
}
