//! The command `pforte`: subcommands and nothing else.

fn main() {}
