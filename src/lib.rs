//! pforte, the gate: an SSH gateway through which partner firms maintain their customers' machines.
//!
//! A technician comes to the front door with a key and a phone; every door further in takes a proof that only the door
//! before it can hand out. Nobody has to remember to check.
//!
//! ```text
//! Stranger ──key──▶ KeyProven ──second factor──▶ Principal ──parse──▶ Draft ─settle─▶ Ask ──gate──▶ Started<Ask> ──▶ commands · hops · relay
//!                                                                                    policy decides, journal writes, then it runs
//!
//! ssh -J gateway backup.praxis.example: the channel for the inner session is an Ask of its own, Relay; whoever signs the inner
//! login with the same key is the SamePerson; and each command in it is an Act, with its own line and its own record.
//! ```
//!
//! # The code map
//!
//! | module | its one job |
//! |---|---|
//! | [`names`], [`clock`], [`random`], [`secret`] | checked text; time and chance as arguments; what must not be printed |
//! | [`template`] | texts with placeholders: an SMS gateway's request or command line |
//! | [`asks`] | what can be asked for, as data |
//! | [`config`] | `policy/` → data, every error at once with its place |
//! | [`state`] | what outlives a restart and is shared by several gateways: used codes, learned certificates, penalties, work orders, jobs, where people confirmed |
//! | [`factor`] | the second factor's providers: a question goes out, sentences and answers pass over a `Line`, a verdict comes back |
//! | [`authority`] | the gateway's own certificate authorities: for host keys, for technicians at a target |
//! | [`identity`] | `KeyProven`, `Principal`, `Machine`: the proofs, and the only places that make them; who asked in vain how often; work orders |
//! | [`link`] | what a site's machine and a gateway say to each other: frames, leases, streams; both ends use it |
//! | [`grants`] | the customer's consent: what each site's leases allow, for as long as they last |
//! | [`uplink`] | the gateway's end of sites' links: a machine proves itself, and there is a way to its site |
//! | [`site`] | the customer's side: dials out, holds the switch, reaches what `site.toml` lists, shows the page |
//! | [`policy`] | `decide`: pure, no clock, no I/O |
//! | [`journal`] | append-only, chained, durable; `Permit` → `Started` |
//! | [`gate`] | decide, then journal; the only caller of both |
//! | [`konnektor`], [`vault`] | the boxes' management interface; backups at rest |
//! | [`recording`] | what was done in a relayed terminal: an encrypted asciicast, and the lines that were typed |
//! | [`flow`] | what keeps two-way load from standing still in russh; both our roles use it |
//! | [`notify`] | a signed post to whom gateway.toml names, journalled first |
//! | [`hops`] | the hosts of all sites; `Started<Hop>` → a sealed byte pipe to one of them |
//! | [`relay`] | `Started<Relay>` → the inner SSH session ended here, recorded, and opened again to the host |
//! | [`commands`], [`sentences`] | the table of commands, and what people read |
//! | [`schedule`] | backups by themselves: what is due, taken once over all gateways, tried again, told |
//! | [`live`] | what runs right now: listed, told to end, its screen followed |
//! | [`transfers`] | which files a relayed channel moved, read from its bytes |
//! | [`prompt`] | a line editor over any byte stream |
//! | [`front`] | the only SSH server: login, limits, sessions; its own small SFTP over the vault |
//! | [`control`], [`sessions`] | the local socket on which an operator lists, ends, watches, and tests a factor; the commands that ask there |
//! | [`kit`] | what a technician installs, filled in from the policy; `contrib/` holds its templates |
//! | [`direct`] | `pforte konnektor`: a box from the practice's own PC, no gateway in between |
//! | [`service`] | what systemd is told: ready, alive, how it stands |
//! | [`owner`] | whose files count as ours, for the services and for root |
//! | [`house`], [`check`], [`init`], [`ledger`], [`play`], [`demo`] | build the parts, and the subcommands |
//!
//! Lower never imports higher: `tests/imports.rs` holds the table of who may use whom.
//!
//! # Where this house differs from its plan
//!
//! - `factor` stands beside `identity`, not below it: code below `identity` could reach into its proofs' private fields, and a provider
//!   that talks to the network should not be able to make one.
//! - A command is parsed into a `Draft` first, for `-i` may be left out where exactly one Konnektor is permitted. Only the gate turns it
//!   into a `Command`, and only a `Command` can be permitted.
//! - `help`, `whoami`, `sites` and `why` are a family of their own, open to everybody whom a rule names that has not ended. So an empty
//!   policy denies them too.
//! - A login that cannot be journalled still lets its person in, to nothing: every command then ends with 254 and a sentence. The
//!   alternative is ssh's own 255, which says nothing.
//! - A connection has a `finished` line of its own.
//! - A service's value is compact text (`konnektor::Json`), not a tree: 50 MB cost 50 MB, and equal parts are equal bytes.
//! - A command that is a job holds its `Started` in a task of its own; the person's line only follows it.
//! - What nobody asked for, a scheduled backup, has a proof beside `Started`: `journal::started::Routine`, from `policy::Standing`.
//! - A recording is no object of the vault: it is a file that grows, frame by frame, each sealed for the vault's recipients, so that
//!   one that kill -9 cut still plays. Its SHA-256 stands in the journal.
//! - A provider is no file below `identity::second_factor`: it gets a `Line` to the person and gives a verdict; which way, whose turn, and a
//!   second one after the first failed are a `Conversation`'s, which can make no proof either.
//! - Whoever comes under a work order is a `Principal` that the policy asks back for everything the order does not name.
//! - Consent is in no database: it is a lease that the site signs for one gateway and one nonce, and it dies with the link. A gateway
//!   that starts, or was copied, knows of none. What several gateways share is all else ([`state`]).
//! - A site that is reached `via = "link"` wants its consent whatever a rule says, and says no itself, too: what is not in its own
//!   `site.toml`, or not for who is named there, is not reached though the gateway asks for it.
//! - A link is one SSH channel with yamux on it, not a channel a stream: russh lets nobody steer its window in the client's role.
//! - A link is told by its first bytes and served by a handler of its own: the technicians' front door has no machine's login.
//! - What is done within a relayed session is asked for again, thing by thing (`asks::Act`): the policy that counts is today's.
//!
//! # What remains different from sshd
//!
//! `flow` says how russh's deadlock is held from outside; what that costs:
//!
//! - A relayed session has one connection to its host for each channel that is open at the same time, and reuses one that is free.
//! - A client's channel that is stuck for ten seconds while a neighbour on the same connection sends much is ended, with its
//!   reason; alone it may wait for as long as it likes. While it lasts, the neighbour is slowed.
//! - EOF of a relayed command's output reaches the client with its exit-status: russh answers a client's CLOSE at once, and a client
//!   that has had EOF both ways sends one.
//! - `break` (RFC 4335) and requests that russh does not know are answered with a failure, not relayed.
//! - `kit` stands at the top: what a kit says is what the whole configuration says.
//!
//! # Invariants, and the tests that hold them
//!
//! | invariant | held by |
//! |---|---|
//! | no journal line, no action | types (`tests/compile_fail`), `tests/door_full_disk.rs`, `tests/door_crash.rs` |
//! | a full disk stops new work with 254 and loses nothing | `tests/door_full_disk.rs`, `tests/journal_crash.rs` |
//! | only what the site said, only as long as it said; a lease is for one gateway, one nonce, and counts by our own clock | `tests/door_link.rs`, `link::lease::tests`, `grants::tests`, `tests/link_network.rs` |
//! | a machine can open its link and nothing else, and one that was taken over costs bounded memory and nobody else's time | `tests/door_link.rs`, `tests/attack_link.rs` |
//! | what is reached at a site is what `site.toml` lists, for whom the switch admits; a close cuts it there within a second | `tests/site_consent.rs`, `tests/site_link.rs`, `site::switch::tests`, `site::visits::tests` |
//! | a gateway that was taken over costs the site bounded memory, and its program goes on | `tests/site_hostile.rs`, `tests/link_hostile_gateway.rs` |
//! | a box's password stays at the site; an archive that it seals is opened nowhere else | `tests/link_konnektor.rs`, `tests/link_backups.rs` |
//! | the page acts for nobody without its PIN, its session's token and its own origin | `tests/site_page.rs`, `tests/site_page_hostile.rs` |
//! | a cut, moved, lossy or half-open line and a killed gateway keep no door open, and the link comes back by itself | `tests/link_network.rs` |
//! | a clock that is wrong or is set at the site keeps no door open for longer than was said, and its light is red | `tests/link_clock.rs`, `site::switch::tests` |
//! | a site is told nothing of another and answers for itself alone; no link and no consent without its line | `tests/door_link_apart.rs`, `tests/door_full_disk.rs` |
//! | a restore whose link was cut, closed or killed is resumed or undone over the next one, once the practice says so | `tests/link_restores.rs` |
//! | systemd hears ready when it is so, and alive while the work goes on | `tests/service_notify.rs`, `tests/installed.rs` |
//! | installed by the documented steps both sides run under their units, and root can look after what is theirs | `tests/installed.rs`, `owner::tests` |
//! | an empty policy denies everything | `tests/door_first.rs`, `policy::tests` |
//! | an unknown field, site or group, a bad key: the start fails with its place | `policy::tests`, `identity::keys::tests` |
//! | the second factor fails closed; an answer belongs to one person, one connection, one challenge, once | `tests/door_factors.rs`, `tests/factor_*.rs`, `tests/past_holes.rs` (R2, R88) |
//! | Duo rings once a question, whatever it answers; who it lets through unasked is refused unless the settings say otherwise | `tests/factor_duo.rs`, `tests/door_duo.rs` |
//! | privacyIDEA's poll, which anybody may ask, opens nothing: the check for this person, transaction and device does, once | `tests/factor_privacyidea.rs`, `tests/factor_privacyidea_faults.rs` |
//! | an address that answers leads to one question, once, by POST alone; all others look the same | `tests/factor_callback.rs`, `tests/factor_ntfy.rs` |
//! | the listener for callbacks, and questions open on it, outlive a reload | `tests/door_ntfy.rs` |
//! | each client does by each factor what it can, is told what it cannot, and rings once a login | `tests/door_clients.rs`, `tests/door_keys.rs` |
//! | to test a person's factor shows no secret, lets nobody in and is journalled | `tests/sessions_factor.rs` |
//! | a code by SMS opens once, on the connection it was made for, and is in no log and no file of ours | `tests/factor_sms*.rs`, `tests/door_sms.rs` |
//! | what is filled into a request or a command line stays one value, whatever it holds | `template::tests`, `tests/factor_sms*.rs` |
//! | the fourth question in vain locks one person, key and source, and nobody else; a strange place gives way to the usual one | `identity::attempts`, `tests/door_factors.rs`, `tests/door_limits.rs` |
//! | a work order opens what it names, to its key and address, until it ends; every other ask wants its own yes | `tests/door_orders.rs` |
//! | a client that skips the key, or changes its name between the factors, is out | `tests/past_holes.rs` (R27, R58), `tests/door_keys.rs` |
//! | no shell; nothing a client sent becomes part of a command line | `commands::parse` tests, `tests/door_commands.rs` |
//! | addresses to dial come from `policy/sites` alone | `clippy.toml` bans every other dial; `tests/imports.rs` |
//! | secrets have types that cannot be printed | `tests/compile_fail/a_secret_*.rs`, `tests/konnektor_faults.rs` |
//! | a host certificate names its hosts alone and is renewed in time; a user certificate lasts five minutes | `tests/authority.rs`, `tests/door_certificates.rs` |
//! | a kit trusts what the gateway wrote down and asks about nothing else | `tests/kit_clients.rs`, `tests/kit_putty.rs`, `tests/door_kit.rs` |
//! | the kit alone carries a day of OpenSSH, PuTTY and Ansible, by one confirmation a connection | `tests/kit_day.rs` |
//! | the demo's machines run without root and end with it, whatever ends it | `tests/demo.rs` |
//! | a removed or expired key ends what it opened within a second | `tests/door_keys.rs`, `tests/past_holes.rs` (R57) |
//! | a panic ends one session | `tests/past_holes*.rs` (R12, R32) |
//! | every queue is bounded | `clippy.toml` bans unbounded ones; `tests/past_holes_load.rs` |
//! | a storm of links, or of what pretends to be one, stands before no technician; a late link is still a link | `tests/door_link_storm.rs`, `benches/links.rs` |
//! | unknown and forbidden look the same, in words and time | `tests/door_keys.rs`, `tests/door_alike.rs`, `tests/door_commands.rs`, `policy::tests` |
//! | a moved file's hash is right or missing; hostile bytes cost bounded memory | `transfers` tests, `tests/transfers_*.rs` |
//! | a changed, missing, moved or cut line is found and named | `tests/journal_damage.rs` |
//! | what was not echoed is in no line and in no recording | `tests/recording_shell.rs`, `recording::lines::tests` |
//! | a recording that was cut plays up to the cut; one that was changed says where | `tests/recording_crash.rs`, `recording::tests` |
//! | no recording, no more of the session: a full disk, a removed file | `tests/recording_crash.rs`, `recording::tests` |
//! | a recording played asks the terminal nothing and fills no clipboard | `play::filter::tests`, `tests/recording_play.rs` |
//! | two-way load never stands still, in flat memory; one stuck channel stops no other | `flow::tests`, `tests/flow_sealed.rs`, `tests/relay_flow.rs` |
//! | an inner session is entered by the same person with the same key, and leads where a rule and a site's file say | types, `tests/relay_login.rs`, `tests/hop_refusals.rs` |
//! | a host with another key than the pinned or kept one is not spoken to | `tests/relay_login.rs` |
//! | every command, typed line, file and script at a host is on record | `tests/relay_deeds.rs`, `tests/relay_daily.rs` |
//! | what an operator ends or watches is journalled first; a watcher holds up nobody; the socket serves root and one group | `tests/sessions_live.rs`, `live::tests` |
//! | nothing runs without a person but what a site's file orders; such work has its own proof and its own lines | types (`tests/compile_fail/a_standing_order_*`, `a_routine_*`), `tests/schedule.rs` |
//! | a slot runs once, over restarts, several gateways and clocks that jump | `schedule::due::tests`, `state::slots::tests`, `tests/schedule.rs` |
//! | what one gateway bars, locks, opens or closes, the others of its state know within a second | `state::tests::shared`, `tests/door_gateways.rs` |
//! | a gateway's jobs are lost, and its boxes free, when it is gone, and not when another starts or the database was away | `state::tests::work`, `tests/door_gateways.rs` |
//! | the state's server is encrypted and known by name, or on this machine; its password is in no line | `state::tests::shared`, `tests/door_gateways.rs` |
//! | the newest backup, the newest good one and the last good copy of a service are never removed | `vault::retention::tests`, `tests/schedule.rs` |
//! | SFTP leads to the vault's index and no file system; each open is decided; what is handed in is kept whole or not at all | `tests/files_*.rs`, `tests/door_full_disk.rs` |
//! | a restore cut at any step, in any way, is resumed to the file or undone to what was | `tests/konnektor_cuts.rs` |
//! | users and passwords of a Konnektor are never written; it is followed into its own networks alone | `tests/konnektor_restore.rs` |
//! | long work outlives its line and not what permitted it; one works at a box at a time | `tests/door_restore.rs`, `commands::jobs::job::tests` |
//! | a restore that a killed gateway began comes to a good end | `tests/served_restore.rs` |
//! | a large Infomodell costs bounded memory | `tests/served_restore.rs`, `tests/konnektor_large.rs` |
//! | a secret in an action's data is in no line, no list and no history | `commands::data::tests`, `tests/door_restore.rs` |
//! | card terminals are never guessed | `tests/konnektor_remap.rs` |
//! | a file to be restored is read or refused with its place; no secret is in a diff | `tests/konnektor_given.rs` |
//! | no patient's name is kept | `tests/konnektor_backup.rs`, `tests/konnektor_secunet.rs`, `tests/konnektor_rise.rs`, the demo |
//! | a refused password is sent once; what ended is begun again once | `tests/konnektor_faults.rs`, `tests/konnektor_secunet.rs`, `tests/konnektor_rise.rs` |
//! | without a gateway: no unknown certificate, no password in any output, no file overwritten; cut anywhere, resumed or undone | `tests/direct.rs`, `tests/direct_restore.rs` |
//! | the site's page does nothing without its PIN, a session, that session's token, our Host and our Origin | `tests/site_page.rs` |
//! | text of gateways and technicians is shown as text, whatever it holds; even what they name oddly has its button | `tests/site_page_hostile.rs`, `site::page::text::tests` |
//! | a PIN is guessed five times, then ever slower; never faster by guessing at once | `tests/site_page.rs`, `site::page::attempts::tests` |
//! | a restart gives no fresh guesses; at the device nobody is locked out for longer than an hour | `site::page::attempts::kept`, `tests/site_page_tls_process.rs` |
//! | in the network the page speaks TLS, with the certificate that `site status` names; plain only where its operator says so | `tests/site_page_tls.rs`, `tests/site_page_tls_process.rs` |
//! | a self-made certificate is renewed in time; a bad file never takes the place of a good one | `tests/site_page_tls.rs` |
//! | the page is used by keyboard alone, without JavaScript, and axe finds nothing in any state | `tests/site_page_browser.rs` |
//! | a visit's report is checked with ssh-keygen by the very command that the page shows | `tests/site_page_hostile.rs` |
//! | what is not publicly known of a make is not tried, and says so by name | `tests/konnektor_secunet.rs`, `tests/konnektor_rise.rs` |
//! | an action's data fits its schema, and becomes one segment of a path at most | `konnektor::perform::tests`, `konnektor::profile::ways::tests` |
//! | a box behind a link: byte for byte what the direct driver gives, every error as it is, no password or session's proof on the wire | `tests/link_konnektor.rs`, `konnektor::error::wire` |
//! | a site that lies, floods, drips or stalls is not believed, held or waited for | `tests/link_hostile.rs` |
//! | a gateway gets at a site's box what the visitor's family may, at addresses of the box's own networks | `tests/link_hostile_gateway.rs`, `site::konnektor::rights` |
//! | a backup that the site seals is opened by the site alone, and kept as it came | `tests/link_backups.rs` |
//!
//! What russh does not let us hold from outside is listed in `docs/ssh.md`; what broke other gateways, in `docs/past-holes.md`.

pub mod asks;
pub mod authority;
pub mod check;
pub mod clock;
pub mod commands;
pub mod config;
pub mod control;
pub mod demo;
pub mod direct;
pub mod factor;
pub mod flow;
pub mod front;
pub mod gate;
pub mod grants;
pub mod hops;
pub mod house;
pub mod identity;
pub mod init;
pub mod journal;
pub mod kit;
pub mod konnektor;
pub mod ledger;
pub mod link;
pub mod live;
pub mod names;
pub mod notify;
pub mod owner;
pub mod play;
pub mod policy;
pub mod prompt;
pub mod random;
pub mod recording;
pub mod relay;
pub mod schedule;
pub mod secret;
pub mod sentences;
pub mod service;
pub mod sessions;
pub mod site;
pub mod state;
pub mod template;
pub mod transfers;
pub mod uplink;
pub mod vault;
