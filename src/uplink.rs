//! The gateway's end of the sites' outbound links.
//! Absent on purpose: what a site allows; the site says that, each time.

pub mod konnektor;
mod streams;

pub use streams::{NoStream, Streams, ask};
