//! The package on a machine with systemd, as a stranger to pforte sets it up by the README and docs/link.md.
//! Absent on purpose: what the programs do; here they do it as their units let them.

use crate::booted;
use crate::package;

use booted::Machine;

/// A gateway at port 22 with a program as the second factor, and a practice's machine that dials it, by the documented steps.
fn set_up() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join("pforte.deb");
    package::build(&deb);
    let machine = Machine::boot(&deb);
    machine.well("dpkg -i /run/pforte.deb");
    let next = machine.well("pforte init /etc/pforte");
    assert!(next.contains("systemctl enable --now pforte"), "{next}");
    machine.well("ssh-keygen -q -t ed25519 -N '' -f /root/jane && cp /root/jane.pub /etc/pforte/keys/firm-jane.doe.pub");
    machine.well("echo geheim >/etc/pforte/secrets/praxis-mueller");
    machine.well(
        "mkdir -p /usr/local/lib/pforte && printf '#!/bin/sh\\nexec cat >/dev/null\\n' >/usr/local/lib/pforte/push && \
         chmod 755 /usr/local/lib/pforte/push",
    );
    machine.well(
        "printf '%s\\n' 'listen = [\"127.0.0.1:22\"]' '[second_factor]' 'provider = \"exec\"' '[second_factor.exec]' \
         'command = [\"/usr/local/lib/pforte/push\"]' >/etc/pforte/policy/gateway.toml",
    );
    machine.well(
        "pforte site init /etc/pforte-site --name praxis-mueller >/etc/pforte/keys/sites/praxis-mueller.pub",
    );
    machine.well(
        "sed -i \"s|^address = .*|address = '127.0.0.1:22'|; \
         s|^host_key = .*|host_key = '$(cut -d' ' -f1,2 /etc/pforte/state/host_ed25519.pub)'|\" /etc/pforte-site/site.toml",
    );
    machine.well("systemctl enable --now pforte pforte-site");
    machine
}

/// jane's command, let in.
fn jane(machine: &Machine, command: &str) -> String {
    machine.well(&format!(
        "ssh -o StrictHostKeyChecking=accept-new -i /root/jane firm-jane.doe@127.0.0.1 {command}"
    ))
}

#[test]
fn set_up_by_the_book_both_sides_run_as_users_of_their_own_and_root_can_look_after_them() {
    let machine = set_up();
    // `enable --now` came back: both had said that they are ready.
    assert!(jane(&machine, "whoami").contains("confirmed by: exec"));
    machine.until("ssh -i /root/jane firm-jane.doe@127.0.0.1 sites", |did| did.out.contains("linked since"));
    for unit in ["pforte", "pforte-site"] {
        let runs_as = format!("stat -c %U /proc/$(systemctl show -P MainPID {unit})");
        assert_eq!(machine.well(&runs_as), format!("{unit}\n"));
    }

    // What root types.
    machine.well("pforte check --config /etc/pforte");
    let status = machine.well("pforte site status --lang en");
    assert!(status.contains("Switch: CLOSED"), "{status}");
    machine.well("pforte site open --for 30m && pforte site allow firm");
    machine.until("ssh -i /root/jane firm-jane.doe@127.0.0.1 sites", |did| did.out.contains("open until"));
    machine.well("pforte site pin && pforte site close");
    let lines = machine.well("pforte journal search --config /etc/pforte --user firm-jane.doe");
    assert!(lines.contains("‘whoami’"), "{lines}");
    machine.well("pforte journal verify --config /etc/pforte");
    machine.well("pforte sessions --config /etc/pforte");
    machine.well("pforte factor test firm-jane.doe --config /etc/pforte");
    machine.well("pforte kit firm-jane.doe --out /root/kit --config /etc/pforte");
    // None of it left a file that the services cannot read.
    let roots = "find /etc/pforte/secrets /etc/pforte/state /etc/pforte-site/secrets /etc/pforte-site/state -user root";
    assert_eq!(machine.well(roots), "");
    // A secret that root adds and keeps is told of, before the service fails at it.
    machine.well("rm /etc/pforte/secrets/praxis-mueller && (umask 077; echo geheim >/etc/pforte/secrets/praxis-mueller)");
    let check = machine.does("pforte check --config /etc/pforte");
    assert!(check.code == 78 && check.err.contains("chown it like its folder"), "{check:?}");
    machine.well("chown pforte /etc/pforte/secrets/praxis-mueller && pforte check --config /etc/pforte");

    // What may not be done by the services, is not: the unit's own words, looked at from inside.
    let inside = "nsenter --target=$(systemctl show -P MainPID pforte) --mount -- sh -c";
    for path in ["/etc/pforte/policy/x", "/usr/x", "/home/x"] {
        assert_ne!(machine.does(&format!("{inside} 'echo >{path}'")).code, 0, "{path}");
    }
    machine.well(&format!("{inside} 'echo >/etc/pforte/state/x && rm /etc/pforte/state/x'"));

    // It is taken away: keys and journal stay.
    machine.well("dpkg --purge pforte");
    machine.well("test -e /etc/pforte/state/journal -a -e /etc/pforte-site/secrets/site_ed25519");
    assert_eq!(machine.does("pgrep -x pforte").code, 1);
}

#[test]
fn who_stands_still_is_started_again_and_who_is_stopped_ends_in_order() {
    let machine = set_up();
    jane(&machine, "whoami");
    for unit in ["pforte", "pforte-site"] {
        let drop_in = format!("/run/systemd/system/{unit}.service.d");
        machine.well(&format!(
            "mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=3s\\nTimeoutAbortSec=1s\\n' >{drop_in}/x.conf"
        ));
    }
    machine.well("systemctl daemon-reload && systemctl restart pforte pforte-site");
    for unit in ["pforte", "pforte-site"] {
        // Twice as long as it may be silent, it is alive: so it is fed.
        std::thread::sleep(std::time::Duration::from_secs(6));
        let restarts = format!("systemctl show -P NRestarts {unit}");
        assert_eq!(machine.well(&restarts), "0\n", "{unit}");
        machine.well(&format!("kill -STOP $(systemctl show -P MainPID {unit})"));
        machine.until(&restarts, |did| did.out == "1\n");
        machine.until(&format!("systemctl is-active {unit}"), |did| did.code == 0);
    }
    machine.until("ssh -i /root/jane firm-jane.doe@127.0.0.1 sites", |did| did.out.contains("linked since"));
    machine.well("systemctl stop pforte-site pforte");
    for unit in ["pforte", "pforte-site"] {
        assert_eq!(machine.well(&format!("systemctl show -P Result {unit}")), "success\n", "{unit}");
    }
    assert!(machine.well("pforte journal verify --config /etc/pforte").contains("sound"));
}
