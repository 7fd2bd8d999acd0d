//! Two-way load through a recorded session: three SSH sessions deep, and nothing stands still.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::load;
use crate::machine;

use std::process::Stdio;
use std::time::Duration;

use door::ran;
use load::{Memory, Pauses, echoed};
use machine::Stage;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const MIB: usize = 1 << 20;
const HOST: &str = "backup.praxis-mueller.example";

fn cat(stage: &Stage) -> Command {
    let mut ssh = stage.command("ssh");
    ssh.args([HOST, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    ssh
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_back_however_its_reader_pauses() {
    let stage = Stage::set("").await;
    echoed(cat(&stage), 10 * MIB, Pauses::None).await;
    let memory = Memory::now();
    for pauses in [Pauses::None, Pauses::AtFirst(Duration::from_secs(2)), Pauses::NowAndThen] {
        for _ in 0..5 {
            echoed(cat(&stage), 100 * MIB, pauses).await;
        }
    }
    memory.grew_less_than(32 * MIB);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_both_ways_in_flat_memory() {
    let stage = Stage::set("").await;
    echoed(cat(&stage), 10 * MIB, Pauses::None).await;
    let memory = Memory::now();
    echoed(cat(&stage), 1024 * MIB, Pauses::NowAndThen).await;
    memory.grew_less_than(24 * MIB);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_every_16_mebibytes_in_both_layers_lose_nothing() {
    let stage = Stage::set("").await;
    // The jump's own ssh reads the same file.
    let config = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, format!("RekeyLimit 16M\n{config}")).unwrap();
    echoed(cat(&stage), 256 * MIB, Pauses::NowAndThen).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: cargo nextest run --test relay_flow --run-ignored all"]
async fn ten_gibibytes_go_both_ways_in_flat_memory() {
    let stage = Stage::set("").await;
    echoed(cat(&stage), 10 * MIB, Pauses::None).await;
    let memory = Memory::now();
    load::echoed_within(cat(&stage), 10 * 1024 * MIB, Pauses::None, Duration::from_mins(15)).await;
    memory.grew_less_than(24 * MIB);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_brings_64_mebibytes_twenty_times() {
    let stage = Stage::set("").await;
    let file = stage.sshd.path().join("big");
    let content: Vec<u8> = (0..64).flat_map(load::block).collect();
    std::fs::write(&file, &content).unwrap();
    let to = stage.door.path().join("got");
    for _ in 0..20 {
        let mut sftp = stage.command("sftp");
        sftp.arg("-q").arg(format!("{HOST}:{}", file.display())).arg(&to);
        let got = ran(sftp).await;
        assert_eq!(got.code, 0, "{got:?}");
        assert!(std::fs::read(&to).unwrap() == content);
        std::fs::remove_file(&to).unwrap();
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_command_stops_no_other_on_the_same_master() {
    let stage = Stage::set("").await;
    let socket = stage.door.path().join("inner-master");
    let mut master = stage.command("ssh");
    master.args(["-M", "-N", "-S"]).arg(&socket).arg(HOST);
    let mut master = master.spawn().unwrap();
    for _ in 0..1000 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let over = |words: &[&str]| {
        let mut ssh = stage.command("ssh");
        ssh.arg("-S").arg(&socket).arg(HOST).args(words);
        ssh
    };
    let memory = Memory::now();
    // One that takes nothing, one whose output nobody takes.
    let mut takes_nothing = over(&["sleep 1000"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut to = takes_nothing.stdin.take().unwrap();
    let filling = tokio::spawn(async move {
        let block = load::block(1);
        while to.write_all(&block).await.is_ok() {}
    });
    let flood = over(&["cat /dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..10 {
        let began = std::time::Instant::now();
        let quick = ran(over(&["echo quick"])).await;
        assert_eq!((quick.code, quick.stdout.as_str()), (0, "quick\n"), "{quick:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    memory.grew_less_than(48 * MIB);
    filling.abort();
    drop(flood);
    master.kill().await.unwrap();
    stage.close().await;
}
