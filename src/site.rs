//! The customer's side: a small machine in the practice that dials out, holds the switch, and runs what the site allows.
//! Absent on purpose: anything that listens towards the internet, and any trust in what a gateway says beyond who is asking.

pub mod agent;
pub mod asks;
pub mod cli;
pub mod config;
pub mod desk;
mod dial;
pub mod hall;
pub mod init;
pub mod konnektor;
pub mod lights;
pub mod links;
mod network;
pub mod page;
pub mod premises;
pub mod record;
pub mod serve;
pub mod socket;
pub mod streams;
pub mod switch;
pub mod time;
pub mod visits;

pub use premises::private_folder;
