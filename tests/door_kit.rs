//! A kit at the real front door: ssh and plink log in by it, with the phone, and are asked about no key.
#![allow(clippy::disallowed_methods, reason = "tests run real clients")]

use crate::door;

use door::{Door, JANE, Ran, Setup, ran};
use tokio::process::Command;

/// A running gateway whose names are where it listens, and jane's kit of it in `DIR/kit`.
async fn with_kit() -> Door {
    let door = Door::open(Setup::default()).await;
    let file = door.path().join("policy/gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("names = [\"127.0.0.1:{}\"]\n{text}", door.port)).unwrap();
    door.reload().await;
    let at = |name: &str| door.path().join(name).display().to_string();
    let mut convert = Command::new("puttygen");
    convert.args([&at("jane"), "-O", "private", "-o", &at("jane.ppk")]);
    assert_eq!(ran(convert).await.code, 0);
    let mut kit = Command::new(env!("CARGO_BIN_EXE_pforte"));
    kit.args(["kit", JANE, "--config", &at("."), "--out", &at("kit"), "--identity", &at("jane")]).args([
        "--control-dir",
        &at(""),
        "--ppk",
        &at("jane.ppk"),
    ]);
    let made = ran(kit).await;
    assert_eq!(made.code, 0, "{made:?}");
    door
}

async fn client(door: &Door, program: &str, words: &[&str]) -> Ran {
    let mut client = Command::new(program);
    client.args(words).current_dir(door.path()).env("PUTTYDIR", door.path().join("kit/putty"));
    client.env_remove("SSH_AUTH_SOCK").env("LANG", "C").stdin(std::process::Stdio::null()).kill_on_drop(true);
    ran(client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_and_plink_log_in_at_the_door_by_the_kit_alone() {
    let door = with_kit().await;
    let alone = ["-v", "-F", "kit/ssh_config", "-o", "ControlPath=none", "gateway", "whoami"];
    let certified = client(&door, "ssh", &alone).await;
    assert!(certified.code == 0 && certified.stdout.contains(JANE), "{certified:?}");
    assert!(certified.stderr.contains("Server host certificate: ssh-ed25519-cert"), "{certified:?}");
    let ssh = client(&door, "ssh", &["-F", "kit/ssh_config", "gateway", "whoami"]).await;
    assert!(ssh.code == 0 && ssh.stdout.contains(JANE), "{ssh:?}");
    // Once more by the same connection: nobody is asked again.
    let again =
        client(&door, "ssh", &["-F", "kit/ssh_config", "-o", "BatchMode=yes", "gateway", "whoami"]).await;
    assert!(again.code == 0 && again.stdout.contains(JANE), "{again:?}");
    assert_eq!(door.events("login").len(), 2);
    let ended = client(&door, "ssh", &["-F", "kit/ssh_config", "-O", "exit", "gateway"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    let session = ["-v", "-batch", "-load", "Fernwartung Gateway", "whoami"];
    let plink = client(&door, "plink", &session).await;
    assert!(plink.code == 0 && plink.stdout.contains(JANE), "{plink:?}");
    // By the authority, and by the plain key where PuTTY is older than authorities.
    std::fs::rename(door.path().join("kit/putty/sshhostkeys"), door.path().join("kept")).unwrap();
    let certified = client(&door, "plink", &session).await;
    assert!(certified.code == 0 && certified.stderr.contains("Accepted certificate"), "{certified:?}");
    std::fs::rename(door.path().join("kept"), door.path().join("kit/putty/sshhostkeys")).unwrap();
    std::fs::remove_dir_all(door.path().join("kit/putty/sshhostcas")).unwrap();
    let plain = client(&door, "plink", &session).await;
    assert!(plain.code == 0 && !plain.stderr.contains("Accepted certificate"), "{plain:?}");
    std::fs::remove_file(door.path().join("kit/putty/sshhostkeys")).unwrap();
    let refused = client(&door, "plink", &session).await;
    assert!(refused.code == 1 && refused.stderr.contains("Cannot confirm a host key"), "{refused:?}");
    door.close().await;
}
