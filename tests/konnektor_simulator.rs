//! The simulated Konnektors, asked with a plain HTTP client as the public recipes for the real ones say.
//! Absent on purpose: our drivers. What holds here holds without them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod simulated;
