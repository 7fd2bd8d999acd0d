//! The package and its units: hardened, complete, and as small in rights as they say.
#![expect(clippy::disallowed_methods, reason = "runs systemd-analyze, cargo-deb and dpkg-deb")]

use std::path::Path;
use std::process::{Command, Output};

const UNITS: [&str; 2] = ["pforte.service", "pforte-site.service"];

fn here(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn ran(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap_or(-1), text)
}

/// The package of the program as it was built for these tests.
pub fn build(deb: &Path) {
    let program = Path::new(env!("CARGO_BIN_EXE_pforte"));
    let target = program.parent().unwrap().parent().unwrap();
    let mut build = Command::new("cargo");
    build
        .args([
            "deb",
            "--no-build",
            "--no-strip",
            "--no-separate-debug-symbols",
            "--profile=dev",
            "--offline",
        ])
        .arg("--output")
        .arg(deb)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target);
    let (code, text) = ran(&mut build);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn both_units_expose_no_more_than_two_of_ten() {
    for unit in UNITS {
        // The threshold is in tenths: above it, the program ends with another code.
        let mut look = Command::new("systemd-analyze");
        look.args(["security", "--offline=true", "--no-pager", "--threshold=20"]);
        let (code, text) = ran(look.arg(here(&format!("contrib/systemd/{unit}"))));
        assert_eq!(code, 0, "{unit}: {text}");
        assert!(text.contains("Overall exposure level"), "{text}");
    }
}

#[test]
fn the_package_holds_the_program_its_units_users_and_documents_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    build(&dir.path().join("pforte.deb"));
    let root = dir.path().join("root");
    let (code, text) = ran(Command::new("dpkg-deb").arg("-R").arg(dir.path().join("pforte.deb")).arg(&root));
    assert_eq!(code, 0, "{text}");
    for file in [
        "usr/lib/systemd/system/pforte.service",
        "usr/lib/systemd/system/pforte-site.service",
        "usr/lib/sysusers.d/pforte.conf",
        "usr/share/doc/pforte/README.md",
        "usr/share/doc/pforte/link.md",
        "DEBIAN/postinst",
    ] {
        assert!(root.join(file).exists(), "{file}");
    }
    let (code, text) = ran(Command::new(root.join("usr/bin/pforte")).arg("--version"));
    assert!(code == 0 && text.starts_with("pforte "), "{text}");
    // Where both sides are set up they are started by a person, not by the package.
    for script in ["postinst", "prerm", "postrm"] {
        let text = std::fs::read_to_string(root.join("DEBIAN").join(script)).unwrap();
        assert!(!text.contains("enable") && !text.contains(" start "), "{script}: {text}");
    }
    let (_, control) = ran(Command::new("cat").arg(root.join("DEBIAN/control")));
    assert!(control.contains("Package: pforte") && control.contains("libc6"), "{control}");
}
