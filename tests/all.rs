//! All integration tests, one program: linked once, and each helper compiled once. A program a file would be 110 of 120 MB each.
//!
//! A test's name begins with its file: `cargo nextest run -E 'test(/^door_link::/)'`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "tests, and helpers of tests, fail loudly"
)]

// Helpers: what is started, spoken to or pretended.
#[path = "duo/asked.rs"]
mod asked;
mod at_the_box;
mod booted;
mod boxes;
mod door;
mod duo;
mod factor_common;
mod files;
mod kit;
mod linked;
mod load;
mod machine;
mod ntfy;
mod page;
mod posing;
mod postgres;
mod practice;
mod privacyidea;
mod prompt_terminal;
mod raw;
mod recorded;
mod restores;
mod seat;
mod served;
#[path = "boxes/small.rs"]
mod small;
mod sms_desk;
mod sshd;
mod transfers;
mod wires;

// Tests.
mod attack_factors;
mod attack_konnektor;
mod attack_link;
mod authority;
mod compile_fail;
mod demo;
mod direct;
mod direct_restore;
mod door_alike;
mod door_audit;
mod door_certificates;
mod door_clients;
mod door_commands;
mod door_crash;
mod door_duo;
mod door_factors;
mod door_first;
mod door_fraud;
mod door_full_disk;
mod door_gateways;
mod door_keys;
mod door_kit;
mod door_limits;
mod door_link;
mod door_link_apart;
mod door_link_storm;
mod door_ntfy;
mod door_orders;
mod door_privacyidea;
mod door_prompt;
mod door_proxy;
mod door_restore;
mod door_sms;
mod factor_callback;
mod factor_duo;
mod factor_duo_faults;
mod factor_exec;
mod factor_ntfy;
mod factor_ntfy_faults;
mod factor_phone;
mod factor_privacyidea;
mod factor_privacyidea_faults;
mod factor_sms;
mod factor_sms_exec;
mod factor_sms_files;
mod factor_tls;
mod factor_totp;
mod factor_webhook;
mod files_clients;
mod files_hostile;
mod files_rules;
mod firms;
mod flow_sealed;
mod hop_refusals;
mod imports;
mod installed;
mod journal_chain;
mod journal_crash;
mod journal_damage;
mod kit_bssh;
mod kit_check;
mod kit_clients;
mod kit_day;
mod kit_files;
mod kit_putty;
mod konnektor_backup;
mod konnektor_cuts;
mod konnektor_faults;
mod konnektor_given;
mod konnektor_large;
mod konnektor_remap;
mod konnektor_restore;
mod konnektor_rise;
mod konnektor_secunet;
mod konnektor_simulator;
mod link_backups;
mod link_clock;
mod link_hostile;
mod link_hostile_gateway;
mod link_konnektor;
mod link_network;
mod link_restores;
mod package;
mod past_holes;
mod past_holes_load;
mod past_holes_russh;
mod prompt_editing;
mod prompt_flow;
mod prompt_memory;
mod recording_crash;
mod recording_play;
mod recording_shell;
mod relay_credentials;
mod relay_daily;
mod relay_deeds;
mod relay_evil;
mod relay_flow;
mod relay_hidden;
mod relay_hops;
mod relay_login;
mod schedule;
mod served_restore;
mod service_notify;
mod sessions_factor;
mod sessions_live;
mod site_consent;
mod site_hostile;
mod site_link;
mod site_page;
mod site_page_browser;
mod site_page_hostile;
mod site_page_tls;
mod site_page_tls_process;
mod site_terminal;
mod transfers_memory;
mod transfers_real;
mod vault_local;
