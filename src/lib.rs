//! pforte, the gate: an SSH gateway through which partner firms maintain their customers' machines.
pub mod clock;
pub mod config;
pub mod factor;
pub mod journal;
pub mod konnektor;
pub mod names;
pub mod prompt;
pub mod secret;
pub mod state;
pub mod vault;
