//! A machine with a real systemd, in namespaces of its own, on which the package is installed. As root.
//! Absent on purpose: a kernel of its own, devices, and a network beyond loopback.
#![allow(clippy::disallowed_methods, reason = "it runs real programs")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here takes longer, on a slow machine either.
const WITHIN: Duration = Duration::from_mins(1);

/// Gone with all of its processes when it is dropped.
pub struct Machine {
    dir: TempDir,
    outer: Child,
}

/// What a shell's line did there.
#[derive(Debug)]
pub struct Did {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its init is gone with it, and all else there with its init.
        self.outer.kill().ok();
        self.outer.wait().ok();
    }
}

impl Machine {
    /// Boots, with `package` at `/run/pforte.deb`.
    pub fn boot(package: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("machine");
        std::fs::create_dir(&work).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let outer = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/booted/boot.sh"))
            .args([work.as_path(), package])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let machine = Self { dir, outer };
        // Degraded: something of this system's that is of no interest did not start there.
        machine.until("systemctl is-system-running", |did| {
            ["running\n", "degraded\n"].contains(&did.out.as_str())
        });
        machine
    }

    /// The init's number, seen from here; 0: there is none yet.
    fn init(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.outer.id());
        std::fs::read_to_string(children).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// A line of root's shell there.
    pub fn does(&self, line: &str) -> Did {
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--target={}", self.init()));
        enter.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd=/"]);
        let done = enter.args(["timeout", "60", "sh", "-c", line]).env("LANG", "C").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Did { code: done.status.code().unwrap_or(-1), out: text(&done.stdout), err: text(&done.stderr) }
    }

    /// A line that ends well; its output.
    pub fn well(&self, line: &str) -> String {
        let did = self.does(line);
        assert_eq!(did.code, 0, "{line}: {did:?} {}", self.log());
        did.out
    }

    /// Until the line does as it should.
    pub fn until(&self, line: &str, is: impl Fn(&Did) -> bool) {
        let deadline = Instant::now() + WITHIN;
        loop {
            let did = self.does(line);
            if is(&did) {
                return;
            }
            assert!(Instant::now() < deadline, "{line}: {did:?} {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was said at the boot, and by the services.
    fn log(&self) -> String {
        let boot = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        format!("{boot}{}", self.does("journalctl --no-pager -n 40").out)
    }
}
