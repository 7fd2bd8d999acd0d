//! The customer's side: a small machine in the practice that dials out, holds the switch, and runs what the site allows.
//! Absent on purpose: anything that listens towards the internet, and any trust in what a gateway says beyond who is asking.

pub mod desk;
pub mod page;
