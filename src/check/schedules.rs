//! The sites' schedules as `pforte check` shows them, and what is worth a warning.
//! Absent on purpose: what was done already; nothing is dialled and no state is opened.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::Config;
use crate::schedule::next_runs;

/// A line a schedule, with its next run where it is.
pub(super) fn text(config: &Config, now: Timestamp) -> String {
    let runs = next_runs(config, now).into_iter().map(|run| {
        let at = run.at.strftime("%a %Y-%m-%d %H:%M %Z");
        format!("schedule  {}  {} ({}), next {at}\n", run.konnektor, run.written, run.place)
    });
    runs.chain(warnings(config).into_iter().map(|warning| format!("warning  {warning}\n"))).collect()
}

/// The same for programs.
pub(super) fn json(config: &Config, now: Timestamp) -> Vec<Value> {
    let runs = next_runs(config, now).into_iter().map(|run| {
        json!({
            "konnektor": run.konnektor.to_string(), "schedule": run.written, "rule": run.place,
            "next": run.at.timestamp().to_string(),
        })
    });
    runs.collect()
}

/// What works, and had better be otherwise.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let plain = config.gateway.notify.as_ref().filter(|notify| notify.url.scheme() == "http");
    let plain = plain.map(
        |_| "policy/gateway.toml: [notify] url is http: what it tells can be read and kept back on its way",
    );
    plain.into_iter().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Start;
    use crate::random::Random;

    fn config(site: &str, gateway: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let start = Start::example(&Random::system());
        let site = format!("{}\n{site}", start.site);
        let gateway = format!("{}\n{gateway}", start.gateway);
        Start { konnektor_password: "Zauber".into(), site, gateway, ..start }.write(dir.path()).unwrap();
        crate::house::load(dir.path()).map(|loaded| loaded.config).map_err(|e| e.to_string())
    }

    /// The line of the example's end, from which the tests' lines count.
    fn after(text: &str) -> usize {
        text.matches('\n').count() + 2
    }

    #[test]
    fn each_schedule_is_shown_with_its_next_run_where_it_is() {
        let site = "[[schedule]]\nat = \"Mo-Fr 02:30\"\njitter = \"0s\"\n[[schedule]]\nkonnektor = \"main\"\nevery = \"6h\"\n";
        let config = config(site, "").unwrap();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let line = after(crate::init::SITE);
        let text = text(&config, now);
        let first = format!(
            "schedule  praxis-mueller/main  Mon,Tue,Wed,Thu,Fri 02:30 Europe/Berlin (praxis-mueller.toml:{line}), \
             next Mon 2026-11-23 02:30 CET\n"
        );
        assert!(text.starts_with(&first), "{text}");
        assert!(text.contains("schedule  praxis-mueller/main  every 6h ("), "{text}");
        assert_eq!(json(&config, now)[0]["next"], "2026-11-23T01:30:00Z");
    }

    #[test]
    fn a_notice_over_plain_http_is_warned_of() {
        let notify = "[notify]\nurl = \"http://127.0.0.1:1/\"\nsecret = { file = \"secrets/webhook\" }\n";
        let plain = config("", notify).unwrap();
        assert!(
            text(&plain, Timestamp::UNIX_EPOCH)
                .starts_with("warning  policy/gateway.toml: [notify] url is http")
        );
        let tls = config("", &notify.replace("http:", "https:")).unwrap();
        assert_eq!(text(&tls, Timestamp::UNIX_EPOCH), "");
    }

    #[test]
    fn what_is_wrong_in_a_schedule_is_said_with_its_place() {
        let line = after(crate::init::SITE);
        for (site, at, why) in [
            ("[[schedule]]\n", "0:1", "[[schedule]] needs the field \"at\""),
            (
                "[[schedule]]\nat = \"25:00\"\n",
                "1:6",
                "\"25:00\": expected a time such as \"02:30\" or \"Mon-Fri 02:30\"",
            ),
            (
                "[[schedule]]\nat = \"Mon-Frei 02:30\"\n",
                "1:6",
                "\"Mon-Frei 02:30\": \"Frei\" is no day of the week: ",
            ),
            ("[[schedule]]\nat = \"02:30\"\nevery = \"6h\"\n", "0:1", "either at or every"),
            ("[[schedule]]\nevery = \"5m\"\n", "1:9", "every: expected a time span from 10m to 168h"),
            (
                "[[schedule]]\nevery = \"1h\"\njitter = \"1h\"\n",
                "2:10",
                "jitter: expected less than every = \"1h\"",
            ),
            ("[[schedule]]\nevery = \"1h\"\nzone = \"UTC\"\n", "2:8", "zone: every counts in UTC"),
            (
                "[[schedule]]\nat = \"02:30\"\nzone = \"Europe/Berlln\"\n",
                "2:8",
                "\"Europe/Berlln\": no time zone",
            ),
            (
                "[[schedule]]\nkonnektor = \"mian\"\nat = \"02:30\"\n",
                "1:13",
                "no [konnektor.mian] in this file, did you mean \"main\"?",
            ),
            (
                "[[schedule]]\nat = \"02:30\"\njiter = \"1m\"\n",
                "2:1",
                "unknown field \"jiter\", did you mean \"jitter\"?",
            ),
            (
                "[[schedule]]\nat = \"02:30\"\n[[schedule]]\nat = \"Mon-Sun 02:30\"\n",
                "2:1",
                "the same schedule stands in policy/sites/praxis-mueller.toml:",
            ),
            (
                "[retention]\nall = \"30\"\n",
                "1:7",
                "\"30\": expected a span from 1d to 100y, such as 30d, 26w or 5y",
            ),
            (
                "[retention]\nall = \"30w\"\n",
                "0:1",
                "retention: expected all, weekly and monthly in this order",
            ),
            (
                "[retention]\nall = \"1d\"\nweeky = \"2w\"\n",
                "2:1",
                "unknown field \"weeky\", did you mean \"weekly\"?",
            ),
        ] {
            let found = config(site, "").err().unwrap_or_default();
            let (down, column) = at.split_once(':').unwrap();
            let place = format!(
                "policy/sites/praxis-mueller.toml:{}:{column}: ",
                line + down.parse::<usize>().unwrap()
            );
            assert!(found.starts_with(&format!("{place}{why}")), "{site}\n{found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    #[test]
    fn what_is_wrong_in_notify_is_said_with_its_place() {
        let of = |more: &str| {
            let notify =
                "[notify]\nurl = \"https://noc.example/\"\nsecret = { file = \"secrets/webhook\" }\n";
            config("", &format!("{notify}{more}")).err().unwrap_or_default()
        };
        assert_eq!(of(""), "");
        let found = of("events = [\"backup-failt\"]\n");
        assert!(found.contains("did you mean \"backup-failed\"?") && found.contains(".toml:"), "{found}");
        let found = of("").is_empty()
            && config("", "[notify]\nurl = \"ftp://x/\"\nsecret = { file = \"secrets/webhook\" }\n").is_err();
        assert!(found);
    }
}
