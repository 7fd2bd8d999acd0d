//! Whether a kit still holds, and what to do where it does not.

use crate::kit;

use kit::{DOMAIN, HOSTS, JANE, Workshop, files_below};
use pforte::init::make_key;

const NAMES: &str = "\"gateway.firm.example\"";

/// The check's only sentence, which names the next step; exit code 1.
async fn one(workshop: &Workshop) -> String {
    let checked = workshop.check().await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert_eq!(checked.stdout.lines().count(), 1, "{checked:?}");
    let sentence = checked.stdout.trim().to_owned();
    assert!(
        sentence.contains("pforte kit firm-jane.doe --out kit") || sentence.contains(".before"),
        "{sentence}"
    );
    sentence
}

#[tokio::test]
async fn a_new_kit_is_up_to_date_wherever_it_lies_and_a_second_one_is_the_same() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&["--install-dir", "~/kit", "--email", "jane@firm.example"]).await;
    let checked = workshop.check().await;
    assert_eq!(
        (checked.code, checked.stdout.as_str()),
        (0, "The kit of firm-jane.doe in kit is up to date.\n")
    );
    std::fs::rename(workshop.path("kit"), workshop.path("moved")).unwrap();
    let moved = workshop.pforte(&["kit", "--check", "moved", "--config", "gateway"]).await;
    assert_eq!(moved.code, 0, "{moved:?}");
    workshop.kit(&["--install-dir", "~/kit", "--email", "jane@firm.example"]).await;
    for file in files_below(&workshop.path("kit")).iter().filter(|file| *file != "kit.json") {
        let read = |kit: &str| std::fs::read(workshop.path(&format!("{kit}/{file}"))).unwrap();
        assert_eq!(read("kit"), read("moved"), "{file}");
    }
}

#[tokio::test]
async fn a_file_changed_by_hand_is_told_and_kept_beside_the_fresh_one() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    let fresh = workshop.text("kit/ssh_config");
    std::fs::write(workshop.path("kit/ssh_config"), "Host gateway\n").unwrap();
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with("ssh_config was changed by hand."), "{sentence}");
    let made = workshop.kit(&[]).await;
    assert!(made.stdout.contains("kept as kit/ssh_config.before"), "{made:?}");
    assert_eq!(workshop.text("kit/ssh_config"), fresh);
    assert_eq!(workshop.text("kit/ssh_config.before"), "Host gateway\n");
    assert_eq!(workshop.check().await.code, 0);
    std::fs::remove_file(workshop.path("kit/bssh")).unwrap();
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with("bssh is missing"), "{sentence}");
}

#[tokio::test]
async fn another_key_authority_or_name_of_the_gateway_is_told() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    for (file, what) in [
        ("host_ed25519", "The gateway's host key is SHA256:"),
        ("host_ca", "The gateway's authority is SHA256:"),
    ] {
        let kept: Vec<_> = ["", ".pub"]
            .into_iter()
            .map(|end| {
                let path = workshop.path(&format!("gateway/state/{file}{end}"));
                let kept = path.with_extension(format!("kept{end}"));
                std::fs::rename(&path, &kept).unwrap();
                (kept, path)
            })
            .collect();
        make_key(&kept[0].1, "another").unwrap();
        let sentence = one(&workshop).await;
        assert!(sentence.starts_with(what) && sentence.contains("the kit trusts SHA256:"), "{sentence}");
        for (kept, path) in kept {
            std::fs::rename(kept, path).unwrap();
        }
        assert_eq!(workshop.check().await.code, 0);
    }
    workshop.change("policy/gateway.toml", |text| text.replace(NAMES, "\"door.firm.example:2222\""));
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with("The gateway is reached at door.firm.example:2222 now"), "{sentence}");
}

#[tokio::test]
async fn hosts_that_came_and_went_are_told_and_a_new_kit_takes_their_files_away() {
    let workshop = Workshop::new(NAMES);
    let site = "policy/sites/praxis-mueller.toml";
    workshop.kit(&[]).await;
    workshop.change(site, |text| text.replace(HOSTS, "\n[hosts.portal]\naddress = \"10.0.0.1:22\"\n"));
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with(&format!("backup.{DOMAIN} can be reached no longer")), "{sentence}");
    workshop.kit(&[]).await;
    assert!(!files_below(&workshop.path("kit")).iter().any(|file| file.contains("Backup")));
    workshop.change(site, |text| text.replace("\n[hosts.portal]\naddress = \"10.0.0.1:22\"\n", HOSTS));
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with(&format!("backup.{DOMAIN} can be reached now")), "{sentence}");
    workshop.kit(&[]).await;
    // A rule is enough: who may not go on is not led there.
    workshop.change("policy/rules.toml", |text| text.replace("\"hop portal\", ", ""));
    let checked = workshop.check().await;
    assert_eq!(
        (checked.code, checked.stdout.lines().count()),
        (1, 2),
        "portal.DOMAIN and DOMAIN: {checked:?}"
    );
    workshop.change(site, |text| text.replace("\"10.0.0.2:22\"\n", "\"10.0.0.2:22\"\ninner = \"sealed\"\n"));
    let checked = workshop.check().await;
    assert!(checked.stdout.contains(&format!("The key at backup.{DOMAIN} is not pinned now")), "{checked:?}");
}

#[tokio::test]
async fn another_version_and_a_title_that_changed_are_told() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    let version = format!("\"pforte\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let list = workshop.text("kit/kit.json");
    assert!(list.contains(&version), "{list}");
    std::fs::write(workshop.path("kit/kit.json"), list.replace(&version, "\"pforte\": \"0.0.9\"")).unwrap();
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with("It was made by pforte 0.0.9"), "{sentence}");
    std::fs::write(workshop.path("kit/kit.json"), list).unwrap();
    workshop.change("policy/sites/praxis-mueller.toml", |text| text.replace("Dr. Müller", "Dr. Maier"));
    let sentence = one(&workshop).await;
    assert!(sentence.starts_with("It would be written otherwise today."), "{sentence}");
}

#[tokio::test]
async fn exit_codes_tell_a_wrong_configuration_from_a_wrong_command_and_a_wrong_folder() {
    let workshop = Workshop::new(NAMES);
    workshop.kit(&[]).await;
    for wrong in [
        &["kit"][..],
        &["kit", JANE],
        &["kit", "Jane", "--out", "x"],
        &["kit", JANE, "--out", "x", "--check", "kit"],
        &["kit", "--check", "kit", "--email", "a@b"],
    ] {
        assert_eq!(workshop.pforte(wrong).await.code, 64, "{wrong:?}");
    }
    let none = workshop.pforte(&["kit", "--check", "gateway", "--config", "gateway"]).await;
    assert!(none.code == 1 && none.stderr.contains("gateway holds no kit"), "{none:?}");
    let other = workshop.pforte(&["kit", JANE, "--out", "gateway/policy", "--config", "gateway"]).await;
    assert!(other.code == 1 && other.stderr.contains("holds other files and no kit"), "{other:?}");
    // A list that leads out of the folder is not followed.
    let list = workshop.text("kit/kit.json");
    std::fs::write(workshop.path("kit/kit.json"), list.replace("\"bssh\"", "\"../jane\"")).unwrap();
    let outside = workshop.pforte(&["kit", JANE, "--out", "kit", "--config", "gateway"]).await;
    assert!(outside.code == 1 && outside.stderr.contains("lies outside of the kit"), "{outside:?}");
    assert!(workshop.path("jane").exists());
    std::fs::write(workshop.path("kit/kit.json"), list).unwrap();

    std::fs::remove_file(workshop.path("gateway/state/host_ca")).unwrap();
    let missing = workshop.check().await;
    assert!(missing.code == 78 && missing.stderr.contains("start pforte serve once"), "{missing:?}");
    workshop.change("policy/rules.toml", |text| text + "nonsense = 1\n");
    let broken = workshop.check().await;
    assert!(
        broken.code == 78 && broken.stderr.contains("policy/rules.toml:5:1: unknown field"),
        "{broken:?}"
    );
    assert_eq!(broken.stderr.matches("unknown field").count(), 1, "said once: {broken:?}");
}

#[tokio::test]
async fn who_reaches_nothing_gets_the_way_to_the_gateway_and_is_told() {
    let workshop = Workshop::new(NAMES);
    workshop.change("policy/rules.toml", |text| text.replace("firm-*", "other-*"));
    let made = workshop.kit(&[]).await;
    assert!(made.stdout.contains("No rule lets them on to a host"), "{made:?}");
    assert!(!made.stdout.contains("cannot log in"), "{made:?}");
    assert!(workshop.text("kit/ssh_config").contains("Host gateway\n"));
    let told = workshop.tool("ssh", &["-G", "-F", "kit/ssh_config", "gateway"]).await;
    assert!(
        told.contains("hostname gateway.firm.example\n") && told.contains("user firm-jane.doe\n"),
        "{told}"
    );
    let stranger = workshop.pforte(&["kit", "firm-john.doe", "--out", "john", "--config", "gateway"]).await;
    assert!(stranger.code == 0 && stranger.stdout.contains("keys/firm-john.doe.pub"), "{stranger:?}");
}
