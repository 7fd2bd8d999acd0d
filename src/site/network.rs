//! Has this machine's own network changed? A look at the kernel's small files each second, so that a link is tried again at once.
//! Absent on purpose: netlink, and any guess at what the change means.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::time::Time;

/// How often it is looked at.
const EACH: Duration = Duration::from_secs(1);
/// The machine slept when more time than that has passed.
const SLEPT: Duration = Duration::from_secs(8);

/// IPv4 and IPv6 routes and addresses (`proc_net(5)`); below `self`, for a hardened unit hides the rest.
const FILES: [&str; 4] = [
    "/proc/self/net/route",
    "/proc/self/net/ipv6_route",
    "/proc/self/net/if_inet6",
    "/proc/self/net/fib_trie",
];

/// Counts `changes` up with each change, until `stop`.
pub async fn watch(changes: watch::Sender<u64>, time: Time, stop: CancellationToken) {
    let (mut before, mut at) = (look().await, time.now().since_boot);
    let mut each = tokio::time::interval(EACH);
    each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = each.tick() => {}
            () = stop.cancelled() => return,
        }
        let (now, seen) = (time.now().since_boot, look().await);
        if seen != before || now.saturating_sub(at) > SLEPT {
            changes.send_modify(|n| *n += 1);
        }
        (before, at) = (seen, now);
    }
}

async fn look() -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in FILES {
        if let Ok(text) = tokio::fs::read_to_string(file).await {
            steady(file, &text).for_each(|line| line.hash(&mut hasher));
        }
    }
    hasher.finish()
}

/// The lines without what counts up by itself: a route's uses.
fn steady<'t>(file: &str, text: &'t str) -> Box<dyn Iterator<Item = String> + Send + 't> {
    let without = match file {
        f if f.ends_with("/route") => [4, 5].as_slice(),
        f if f.ends_with("ipv6_route") => [6, 7].as_slice(),
        _ => [].as_slice(),
    };
    Box::new(text.lines().map(move |line| {
        let words = line.split_whitespace().enumerate().filter(|(at, _)| !without.contains(at));
        words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    }))
}

/// The default route's interface, and its router if there is one between.
pub fn default_route() -> Option<(String, Option<IpAddr>)> {
    routes(&std::fs::read_to_string("/proc/self/net/route").unwrap_or_default())
        .or_else(|| routes6(&std::fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default()))
}

fn routes(text: &str) -> Option<(String, Option<IpAddr>)> {
    text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (interface, to, router) = (words.next()?, words.next()?, words.next()?);
        let router = u32::from_str_radix(router, 16).ok()?;
        let ip = Ipv4Addr::from(router.to_ne_bytes());
        let mask = words.nth(4)?;
        let default = to == "00000000" && mask == "00000000";
        default.then(|| (interface.to_owned(), (router != 0).then(|| ip.into())))
    })
}

fn routes6(text: &str) -> Option<(String, Option<IpAddr>)> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [to, length, _, _, router, .., interface] = words.as_slice() else { return None };
        let router = u128::from_str_radix(router, 16).ok()?;
        let default = to.bytes().all(|b| b == b'0') && *length == "00" && *interface != "lo";
        let ip = (router != 0).then(|| std::net::Ipv6Addr::from(router).into());
        default.then(|| ((*interface).to_owned(), ip))
    })
}

/// Does the neighbour table know a hardware address for it (`proc_net(5)`, arp)?
pub fn in_neighbours(router: IpAddr) -> bool {
    let text = std::fs::read_to_string("/proc/self/net/arp").unwrap_or_default();
    neighbour(&text, router)
}

fn neighbour(text: &str, router: IpAddr) -> bool {
    text.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [ip, _, flags, hardware, ..] = words.as_slice() else { return false };
        // 0x2: the entry is complete.
        let complete = u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|f| f & 2 != 0);
        ip.parse() == Ok(router) && complete && *hardware != "00:00:00:00:00:00"
    })
}

/// This machine's addresses, but loopback and link-local ones.
pub fn addresses() -> Vec<IpAddr> {
    let four = std::fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let six = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    let mut all = local(&four);
    all.extend(local6(&six));
    all.sort();
    all.dedup();
    all
}

fn local(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(ip) = line.strip_prefix("|-- ") {
            last = ip.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(ip) = last.filter(|ip| !ip.is_loopback() && !ip.is_link_local())
        {
            found.push(ip.into());
        }
    }
    found
}

fn local6(text: &str) -> Vec<IpAddr> {
    let ips = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let ip = u128::from_str_radix(words.next()?, 16).ok()?;
        Some(std::net::Ipv6Addr::from(ip))
    });
    ips.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local()).map(IpAddr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_is_the_default_routes_and_its_neighbour_entry_complete() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                    eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
                    eth0\t00000000\t0101A8C0\t0003\t0\t7\t0\t00000000\n";
        let router: IpAddr = "192.168.1.1".parse().unwrap();
        assert_eq!(routes(text), Some(("eth0".into(), Some(router))));
        assert_eq!(routes(text.lines().take(2).collect::<Vec<_>>().join("\n").as_str()), None);
        let arp = "IP address HW type Flags HW address Mask Device\n\
                   192.168.1.1 0x1 0x2 52:54:00:12:35:02 * eth0\n\
                   192.168.1.9 0x1 0x0 00:00:00:00:00:00 * eth0\n";
        assert!(neighbour(arp, router));
        assert!(!neighbour(arp, "192.168.1.9".parse().unwrap()));
        assert!(!neighbour(arp, "192.168.1.10".parse().unwrap()));
    }

    #[test]
    fn six_is_read_too_and_loopback_is_nobodys_address() {
        let route = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n";
        assert_eq!(routes6(route), Some(("eth0".into(), Some("fe80::1".parse().unwrap()))));
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n20010db8000000000000000000000005 02 40 00 80 eth0\n";
        assert_eq!(local6(inet6), ["2001:db8::5".parse::<IpAddr>().unwrap()]);
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.168.1.5\n        /32 host LOCAL\n     |-- 192.168.1.255\n        /32 link BROADCAST\n";
        assert_eq!(local(trie), ["192.168.1.5".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_only_counts_up_is_no_change() {
        let lines = |uses: &str| {
            let text = format!("eth0 00000000 0101A8C0 0003 0 {uses} 0 00000000");
            steady("/proc/self/net/route", &text).collect::<Vec<_>>()
        };
        assert_eq!(lines("7"), lines("8"));
        assert_ne!(lines("7"), steady("/proc/self/net/route", "eth1 00000000").collect::<Vec<_>>());
    }
}
