//! What a site's machine and a gateway say to each other over the site's outbound link: frames, leases, streams.
//! Absent on purpose: who dials, who may, and SSH. Both ends use this, and trust nothing that comes over it.
//!
//! ```text
//! TCP, dialled by the site ─▶ SSH: `site:NAME`, its key; the gateway's pinned host key
//!   └ one session channel, subsystem `pforte-link` ─▶ yamux
//!       ├ the site's first stream: control, a JSON line each way (frames)
//!       └ every stream that the gateway opens: one JSON line (Head), one back (Reply), then bytes or lines
//! ```

pub mod frames;
pub mod lease;
mod lines;
mod mux;

pub use lines::{BadLine, Lines, read_line, write_line};
pub use mux::{Bounds, Mux, MuxError, Opener, Stream};

use std::time::Duration;

/// The subsystem that the site asks for (RFC 4254 §6.5).
pub const SUBSYSTEM: &str = "pforte-link";
/// How the site's SSH software names itself (RFC 4253 §4.2), in its first bytes: by this the gateway knows a link before any
/// cryptography and lets it wait for its turn. It proves nothing.
pub const IDENT: &str = "SSH-2.0-pforte-site";
/// The protocol's version; the higher side speaks the lower one's, if it can.
pub const VERSION: u32 = 1;
/// How often the site says that it lives.
pub const ALIVE: Duration = Duration::from_secs(20);
/// After so long without a word the other side is gone.
pub const SILENCE: Duration = Duration::from_secs(50);
/// How long a stream's first line may take.
pub const HEAD: Duration = Duration::from_secs(15);

/// The user name of a site's machine: `site:NAME`.
pub fn login(site: &crate::names::SiteName) -> String {
    format!("site:{site}")
}
