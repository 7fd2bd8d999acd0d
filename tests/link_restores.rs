//! Restores, remaps and actions at a Konnektor behind a real link, with the system's ssh and the real `pforte site serve`: cut in the
//! middle, closed in the middle, brought to a good end. Absent on purpose: each cut at each step (`konnektor_cuts.rs`), and the
//! driver by itself (`link_konnektor.rs`).
#![allow(
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::door;
use crate::door_restore::{backup, configuration, edit, held, nowhere, profile, rules, until};
use crate::posing;
use crate::practice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use door::{Door, JANE, PASSWORD, Ran, Setup, ran};
use posing::site::{NAME, Site, secret};
use practice::behind_link;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The line between the practice and its gateway: what is cut is gone at once, and the next call goes through.
struct Line {
    at: SocketAddr,
    cut: Arc<std::sync::Mutex<CancellationToken>>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let cut = Arc::<std::sync::Mutex<CancellationToken>>::default();
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let cut = cuts.lock().unwrap().clone();
                calls.spawn(async move {
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        Self { at, cut, task }
    }

    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }
}

/// A gateway without the box's account and address, and a practice's machine that has both; linked, open, and jane named.
struct Stage {
    door: Door,
    site: Site,
    line: Line,
}

async fn stage(latency: Duration) -> Stage {
    let setup =
        Setup { rules: Some(rules("")), files: vec![profile()], box_latency: latency, ..Setup::default() };
    let door = Door::open(setup).await;
    let line = Line::to(door.port).await;
    let host_key = std::fs::read_to_string(door.path().join("state/host_ed25519.pub")).unwrap();
    let host_key: Vec<&str> = host_key.split_whitespace().take(2).collect();
    let tables = format!(
        "[[gateway]]\naddress = \"{}\"\nhost_key = \"{}\"\n[konnektor.main]\nproduct = \"kocobox\"\naddress = \"{}\"\n\
         sds = \"{2}\"\ncertificate = \"{}\"\nuser = \"koco-root\"\npassword = {{ file = \"secrets/konnektor\" }}\n",
        line.at,
        host_key.join(" "),
        door.konnektor.address(),
        door.konnektor.certificate_pin(),
    );
    let mut site = Site::new("", &tables).await;
    secret(&site.home().join("secrets/konnektor"), PASSWORD);
    let (_, text, _) = profile();
    std::fs::create_dir_all(site.home().join("konnektor")).unwrap();
    std::fs::write(site.home().join("konnektor/kocobox.toml"), text).unwrap();

    let keys = door.path().join("keys/sites");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join(format!("{NAME}.pub")), site.public.to_openssh().unwrap() + "\n").unwrap();
    let file = door.path().join(format!("policy/sites/{NAME}.toml"));
    let text = behind_link(&std::fs::read_to_string(&file).unwrap());
    let text: String =
        text.lines().filter(|line| !line.starts_with("address = ")).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&file, text).unwrap();
    std::fs::remove_file(door.path().join("secrets/praxis-mueller")).unwrap();
    door.reload().await;

    site.start().await;
    let stage = Stage { door, site, line };
    stage.open().await;
    stage
}

impl Stage {
    /// The practice opens, and lets jane in.
    async fn open(&self) {
        self.site.does(&["open", "--for", "30m"]).await;
        self.site.does(&["allow", JANE]).await;
        self.settles(0).await;
    }

    /// Until a look at the box ends so.
    async fn settles(&self, code: i32) {
        until("what the practice says counts", async || {
            self.door.ssh(&["konnektor status"]).await.code == code
        })
        .await;
    }

    /// A restore of a box that was reset, and its first two services are written.
    async fn begin(&self, name: &str) -> JoinHandle<Ran> {
        let before = self.door.konnektor.writes();
        let mut ssh = self.door.ssh_command(JANE, "jane");
        ssh.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
        let running = tokio::spawn(ran(ssh));
        until("two services are written", async || self.door.konnektor.writes() >= before + 2).await;
        running
    }

    /// The box holds what it should, its password is nowhere at the gateway, and all is in the journal.
    async fn close(mut self) {
        nowhere(&self.door.path().join("state"), PASSWORD);
        nowhere(&self.door.path().join("policy"), PASSWORD);
        self.site.stop().await;
        self.door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_link_is_cut_is_resumed_or_undone_over_the_next_link() {
    for way in ["--resume", "--undo"] {
        let stage = stage(Duration::from_millis(60)).await;
        let door = &stage.door;
        let wanted = configuration(door);
        let name = backup(door).await;
        door.konnektor.factory_reset().unwrap();
        let reset = configuration(door);
        let running = stage.begin(&name).await;
        stage.line.cut();
        let cut = running.await.unwrap();
        assert_ne!(cut.code, 0, "{cut:?}");
        let now = configuration(door);
        assert!(now != wanted && now != reset, "it stopped in the middle");
        // The switch is open as before: the next link brings the consent along.
        stage.settles(0).await;
        let another = door.ssh(&["konnektor restore --yes -f", &name]).await;
        assert!(another.code == 1 && another.stderr.contains("--resume"), "{another:?}");
        let end = door.ssh(&["konnektor restore --yes", way]).await;
        assert_eq!(end.code, 0, "{way}: {end:?}");
        assert!(configuration(door) == if way == "--undo" { reset } else { wanted }, "{way}");
        assert_eq!(door.konnektor.user_writes(), 0);
        let nothing = door.ssh(&["konnektor restore --yes", way]).await;
        assert_eq!(nothing.code, 64, "{nothing:?}");
        stage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_in_mid_restore_stops_it_and_nobody_goes_on_before_the_practice_opens_again() {
    let stage = stage(Duration::from_millis(60)).await;
    let door = &stage.door;
    let wanted = configuration(door);
    let name = backup(door).await;
    door.konnektor.factory_reset().unwrap();
    let running = stage.begin(&name).await;
    stage.site.does(&["close"]).await;
    let closed = running.await.unwrap();
    assert_eq!(closed.code, 77, "{closed:?}");
    let (stopped, writes) = (configuration(door), door.konnektor.writes());
    assert!(stopped != wanted, "it stopped in the middle");
    for way in ["--resume", "--undo"] {
        let refused = door.ssh(&["konnektor restore --yes", way]).await;
        assert!(refused.code == 77 && refused.stderr.contains("has not switched"), "{refused:?}");
    }
    assert_eq!((door.konnektor.writes(), configuration(door)), (writes, stopped));
    stage.open().await;
    let end = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!(end.code, 0, "{end:?}");
    assert!(configuration(door) == wanted);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_killed_in_mid_restore_leaves_what_brings_it_to_a_good_end() {
    let mut stage = stage(Duration::from_millis(60)).await;
    let wanted = configuration(&stage.door);
    let name = backup(&stage.door).await;
    stage.door.konnektor.factory_reset().unwrap();
    let running = stage.begin(&name).await;
    stage.site.kill().await;
    assert_ne!(running.await.unwrap().code, 0);
    stage.site.start().await;
    // A machine that was started anew is closed.
    stage.settles(77).await;
    stage.open().await;
    let end = stage.door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!(end.code, 0, "{end:?}");
    assert!(configuration(&stage.door) == wanted);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newly_paired_terminals_find_their_place_over_the_link() {
    let stage = stage(Duration::ZERO).await;
    let door = &stage.door;
    let name = backup(door).await;
    edit(door, "cardterminals", |value| {
        value[0]["CTID"] = json!("CT_ID_0011");
        value[1]["CTID"] = json!("CT_ID_0012");
    });
    let list = door.ssh(&["konnektor terminals"]).await;
    assert!(list.code == 0 && list.stdout.starts_with("CT_ID_0011\t00:0D:F8:00:00:01\t"), "{list:?}");
    let dry = door.ssh(&["konnektor remap --dry-run -f", &name]).await;
    assert_eq!((dry.code, door.konnektor.writes()), (0, 0), "{dry:?}");
    assert!(dry.stdout.contains("CT_ID_0001 → CT_ID_0011"), "{}", dry.stdout);
    let ran = door.ssh(&["konnektor remap --yes -f", &name]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let model = held(door)["infomodell"].to_string();
    assert!(model.contains("CT_ID_0011") && model.contains("CT_ID_0012"), "{model}");
    assert!(!model.contains("CT_ID_0001"), "{model}");
    // The practice sees what was done at its box, and by whom.
    let view = stage.site.view().await;
    let deeds = serde_json::to_string(&(&view.present, &view.visits)).unwrap();
    assert!(deeds.contains("konnektor remap") && deeds.contains(JANE), "{deeds}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_performed_at_the_site_and_another_is_not() {
    let stage = stage(Duration::ZERO).await;
    let door = &stage.door;
    let reboot = door.ssh(&["konnektor perform -a reboot"]).await;
    assert_eq!((reboot.code, door.konnektor.reboots()), (0, 1), "{reboot:?}");
    assert!(reboot.stderr.contains("It is back after"), "{}", reboot.stderr);
    let delete = door.ssh(&["konnektor perform -a delete-ct -d '{\"CTID\":\"CT_ID_0002\"}'"]).await;
    assert_eq!(delete.code, 0, "{delete:?}");
    assert_eq!(held(door)["cardterminals"].as_array().unwrap().len(), 1);
    let wrong = door.ssh(&["konnektor perform -a delete-ct -d '{\"CTID\":7}'"]).await;
    assert!(wrong.code == 64 && wrong.stderr.contains("/CTID"), "{wrong:?}");
    let unknown = door.ssh(&["konnektor perform -a self-destruct -d '{}'"]).await;
    assert_eq!(unknown.code, 77, "{unknown:?}");
    stage.site.does(&["close"]).await;
    let closed = door.ssh(&["konnektor perform -a reboot"]).await;
    assert_eq!((closed.code, door.konnektor.reboots()), (77, 1), "{closed:?}");
    stage.close().await;
}
