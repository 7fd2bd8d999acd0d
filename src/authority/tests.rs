use super::*;
use crate::random::Random;
use ssh_key::{Algorithm, PrivateKey};

fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T22:00:00Z".parse().unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn a_host_certificate_names_its_hosts_and_ends_after_ninety_days() {
    let authority = HostAuthority::new(key(), Random::of(|| 7 << 64));
    let host = key();
    let issued =
        authority.host_certificate(host.public_key(), &names(&["Gateway.example", "::1"]), now()).unwrap();
    assert_eq!(issued.valid_principals(), ["gateway.example", "::1"]);
    assert_eq!(issued.serial(), 7);
    assert_eq!(issued.public_key(), host.public_key().key_data());
    let second = u64::try_from(now().as_second()).unwrap();
    assert_eq!((issued.valid_after(), issued.valid_before()), (second - 3600, second + 90 * 86_400));
    assert!(issued.critical_options().is_empty() && issued.extensions().is_empty());
}

#[test]
fn a_certificate_for_every_host_is_never_issued() {
    let authority = HostAuthority::new(key(), Random::system());
    let issue = |list: &[&str]| authority.host_certificate(key().public_key(), &names(list), now()).map(drop);
    assert!(matches!(issue(&[]), Err(NotIssued::NoName)));
    for bad in ["*", "*.example", "gate?", "!gate", "", "a b", "a,b", "a\n", "ä.example"] {
        assert!(matches!(issue(&["gate.example", bad]), Err(NotIssued::BadName(_))), "{bad:?}");
    }
    issue(&["gate.example"]).unwrap();
}

#[test]
fn a_time_before_1970_is_refused() {
    let authority = HostAuthority::new(key(), Random::system());
    let issued = authority.host_certificate(key().public_key(), &names(&["a"]), Timestamp::UNIX_EPOCH);
    assert!(matches!(issued, Err(NotIssued::BadTime(_))));
}

#[test]
fn the_next_one_is_due_when_half_the_life_is_over() {
    let authority = HostAuthority::new(key(), Random::system());
    let issued = authority.host_certificate(key().public_key(), &names(&["a"]), now()).unwrap();
    let half = SignedDuration::from_hours((90 * 24 + 1) / 2) - SignedDuration::from_hours(1);
    let about = due(&issued).duration_since(now() + half).abs();
    assert!(about <= SignedDuration::from_hours(1), "{about}");
}
