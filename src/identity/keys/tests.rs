use std::os::unix::fs::PermissionsExt;

use super::*;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ jane@firm.example";

fn rsa(bits: usize, exponent: &[u8]) -> KeyData {
    let mut modulus = vec![0xc3; bits / 8];
    *modulus.last_mut().unwrap() |= 1;
    let part = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes);
    KeyData::Rsa(ssh_key::public::RsaPublicKey::new(part(exponent), part(&modulus)).unwrap())
}

#[test]
fn rsa_has_4096_bits_and_an_odd_exponent_from_f4_on() {
    let f4 = [1, 0, 1];
    assert_eq!(acceptable(&rsa(4096, &f4)), Ok(()));
    assert_eq!(acceptable(&rsa(4096, &[1, 0, 3])), Ok(()));
    assert_eq!(acceptable(&rsa(4096, &[1, 0, 0, 0, 1])), Ok(()));
    for bits in [1024, 2048, 3072, 4088, 4104, 8192, 16384] {
        assert_eq!(acceptable(&rsa(bits, &f4)), Err(NoKey::Policy), "{bits}");
    }
    for exponent in [&[1][..], &[3], &[35], &[0xff, 0xff], &[1, 0, 0], &[1, 0, 2]] {
        assert_eq!(acceptable(&rsa(4096, exponent)), Err(NoKey::Policy), "{exponent:?}");
    }
}

#[test]
fn sha_1_and_what_is_not_listed_signs_nothing() {
    assert_eq!(good_algorithm(&Algorithm::Ed25519), Ok(()));
    assert_eq!(good_algorithm(&Algorithm::Rsa { hash: Some(HashAlg::Sha512) }), Ok(()));
    assert_eq!(good_algorithm(&Algorithm::Rsa { hash: Some(HashAlg::Sha256) }), Ok(()));
    for bad in ["ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"] {
        assert_eq!(good_algorithm(&Algorithm::new(bad).unwrap()), Err(NoKey::Algorithm), "{bad}");
    }
}

fn line(options: &str) -> Result<KeyLine, String> {
    KeyLine::parse(format!("{options} {ED25519}").trim())
}

fn in_force(options: &str, from: &str, now: &str) -> Result<(), NoKey> {
    line(options).unwrap().in_force(from.parse().unwrap(), now.parse().unwrap())
}

const NOON: &str = "2026-11-21T12:00:00Z";

#[test]
fn from_means_what_it_means_in_authorized_keys() {
    let of = |options: &str, from: &str| in_force(options, from, NOON);
    assert_eq!(of("", "203.0.113.7"), Ok(()));
    assert_eq!(of("from=\"203.0.113.0/24\"", "203.0.113.7"), Ok(()));
    assert_eq!(of("from=\"203.0.113.0/24\"", "::ffff:203.0.113.7"), Ok(()));
    assert_eq!(of("from=\"203.0.113.0/24\"", "203.0.114.7"), Err(NoKey::Source));
    assert_eq!(of("from=\"203.0.113.*\"", "203.0.113.77"), Ok(()));
    assert_eq!(of("from=\"203.0.113.?\"", "203.0.113.77"), Err(NoKey::Source));
    assert_eq!(of("from=\"!203.0.113.7,203.0.113.0/24\"", "203.0.113.8"), Ok(()));
    assert_eq!(of("from=\"203.0.113.0/24,!203.0.113.7\"", "203.0.113.7"), Err(NoKey::Source));
    assert_eq!(
        of("from=\"!203.0.113.7\"", "203.0.113.8"),
        Err(NoKey::Source),
        "a refusal alone permits nobody"
    );
    assert_eq!(of("from=\"2001:db8::/32\"", "2001:db8::1"), Ok(()));
    assert_eq!(of("from=\"2001:db8::/32\"", "203.0.113.7"), Err(NoKey::Source));
}

#[test]
fn a_key_ends_at_its_expiry_time() {
    let at = |now: &str| in_force("expiry-time=\"20261121Z\"", "203.0.113.7", now);
    assert_eq!(at("2026-11-20T23:59:59Z"), Ok(()));
    assert_eq!(at("2026-11-21T00:00:00Z"), Err(NoKey::Expired));
    assert_eq!(in_force("expiry-time=\"202611211200Z\"", "203.0.113.7", NOON), Err(NoKey::Expired));
    assert_eq!(in_force("expiry-time=\"20261121120001Z\"", "203.0.113.7", NOON), Ok(()));
}

#[test]
fn an_option_that_would_not_be_obeyed_is_refused() {
    for options in [
        "command=\"id\"",
        "restrict",
        "no-pty",
        "cert-authority",
        "environment=\"A=b\"",
        "from=\"host.example\"",
        "from=\"\"",
        "from=\"203.0.113.7/24\"",
        "expiry-time=\"tomorrow\"",
        "expiry-time=\"20261345\"",
        "from=\"10.0.0.0/33\"",
    ] {
        assert!(line(options).is_err(), "{options}");
    }
    assert!(line("from=\"10.0.0.0/8\",expiry-time=\"20270101\"").is_ok());
}

fn load(files: &[(&str, &str)]) -> (KeyBook, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("keys/sites")).unwrap();
    for (name, text) in files {
        let path = dir.path().join("keys").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut problems = Problems::default();
    let book = KeyBook::load(&Folder::new(dir.path()), &mut problems);
    (book, problems.0.iter().map(ToString::to_string).collect())
}

#[test]
fn a_file_is_a_person_and_every_bad_line_is_named() {
    let text = format!("# Jane\n{ED25519}\n\nssh-ed25519 AAAA broken\nssh-dss AAAAB3NzaC1kc3MAAAAB old\n");
    let (book, problems) = load(&[("firm-jane.doe.pub", &text), ("Jane.pub", ED25519), ("notes.txt", "")]);
    assert_eq!(book.people().count(), 1);
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(
        problems[0].starts_with("keys/Jane.pub: the file's name: user: expected firm-given.family"),
        "{problems:#?}"
    );
    assert!(problems[1].starts_with("keys/firm-jane.doe.pub:4: no OpenSSH public key"), "{problems:#?}");
    assert!(problems[2].starts_with("keys/firm-jane.doe.pub:5:"), "{problems:#?}");
    assert!(problems[3].starts_with("keys/notes.txt: a key file is named after its owner"), "{problems:#?}");
}

#[test]
fn one_key_belongs_to_one_person() {
    let (_, problems) = load(&[("ab-jane.doe.pub", ED25519), ("cd-john.roe.pub", ED25519)]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("keys/ab-jane.doe.pub too: one key belongs to one person"), "{problems:#?}");
    let (_, problems) = load(&[("ab-jane.doe.pub", ED25519), ("sites/praxis.pub", ED25519)]);
    assert_eq!(problems.len(), 1, "nor to a person and a machine: {problems:#?}");
}

#[test]
fn an_rsa_key_of_2048_bits_is_refused_at_load_with_its_place_and_reason() {
    let key = ssh_key::PublicKey::new(rsa(2048, &[1, 0, 1]), "old laptop").to_openssh().unwrap();
    let (_, problems) = load(&[("firm-jane.doe.pub", &format!("{ED25519}\n{key}\n"))]);
    let expected = "keys/firm-jane.doe.pub:2: RSA of 2048 bits with exponent 65537 is not accepted: use ssh-ed25519, or RSA of exactly 4096 bits";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_removed_key_no_longer_holds() {
    let (book, _) = load(&[("firm-jane.doe.pub", ED25519)]);
    let (empty, _) = load(&[]);
    let user: Username = "firm-jane.doe".parse().unwrap();
    let key = ED25519
        .parse::<ssh_key::PublicKey>()
        .unwrap()
        .fingerprint(HashAlg::Sha256)
        .to_string()
        .parse()
        .unwrap();
    let (from, now) = ("203.0.113.7".parse().unwrap(), NOON.parse().unwrap());
    assert_eq!(book.holds(&user, &key, from, now), Ok(()));
    assert_eq!(empty.holds(&user, &key, from, now), Err(NoKey::UnknownUser));
    assert_eq!(book.holds(&"firm-john.roe".parse().unwrap(), &key, from, now), Err(NoKey::UnknownUser));
}

#[test]
fn a_private_key_is_said_once_whatever_its_name() {
    let body = "b3BlbnNzaC1rZXktdjEAAAAA\n".repeat(5);
    let openssh = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n");
    let putty = format!("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n{body}");
    for (name, text) in [("firm-jane.doe.pub", &openssh), ("id_ed25519", &openssh), ("jane.ppk", &putty)] {
        let (book, problems) = load(&[(name, text)]);
        assert_eq!(book.people().count(), 0);
        let expected = format!("keys/{name}: this is a private key: take it away and put the .pub here");
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn an_option_that_stands_twice_is_refused() {
    let twice = |options: &str| line(options).err().unwrap();
    assert!(twice("from=\"10.0.0.0/8\",from=\"192.0.2.0/24\"").contains("\"from\" stands twice"));
    assert!(twice("expiry-time=\"20270101\",expiry-time=\"20280101\"").contains("stands twice"));
}

#[test]
fn what_editors_leave_behind_is_no_key_file() {
    let left =
        ["firm-jane.doe.pub~", ".firm-jane.doe.pub.swp", "x.swp", "#firm-jane.doe.pub#", "a.bak", "a.orig"];
    let mut files: Vec<(&str, &str)> = left.iter().map(|name| (*name, "?")).collect();
    files.push(("firm-jane.doe.pub", ED25519));
    let (book, problems) = load(&files);
    assert_eq!((book.people().count(), problems), (1, vec![]));
    assert_eq!(load(&[("firm-jane.doe.key", ED25519)]).1.len(), 1, "but another ending is a mistake");
}
