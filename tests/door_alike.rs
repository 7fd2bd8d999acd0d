//! What a stranger can tell about a person from outside: nothing, not even that they are locked or reported a fraud.
//! Absent on purpose: refusals of keys that are expired or somebody else's; those are `past_holes_load` (R89).

use crate::door;
use crate::raw;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use door::{Door, JANE, Setup};
use raw::{Fields, Raw, blob, interactive, is_partial, is_refusal, median, msg, probe, request};
use ssh_key::PrivateKey;

const BOB: &str = "firm-bob.roe";
const FAY: &str = "firm-fay.poe";
/// Rounds, in each of which everybody has their turn.
const ROUNDS: usize = 21;
/// Between the quickest and the slowest median. One refusal without its 50 ms would be further off.
const APART: Duration = Duration::from_millis(20);

/// A gateway where jane is locked from `place`, fay has reported a fraud, and bob may log in.
struct Locked {
    door: Door,
    place: Ipv4Addr,
    jane: PrivateKey,
    bob: PrivateKey,
    fay: PrivateKey,
    stranger: PrivateKey,
}

impl Locked {
    async fn open() -> Self {
        let door = Door::open(Setup::default()).await;
        for (user, name) in [(BOB, "bob"), (FAY, "fay")] {
            let line = door.make_key(name);
            door.register(user, &line);
        }
        door.make_key("stranger");
        door.reload().await;
        let key = |name: &str| raw::read_key(&door.path().join(name));
        let (jane, bob, fay, stranger) = (key("jane"), key("bob"), key("fay"), key("stranger"));
        let locked = Self { place: raw::fresh_source(), jane, bob, fay, stranger, door };
        // Bob's login makes the place one that may come as often as this test does.
        assert_eq!(locked.log_in(BOB, &locked.bob).await[0], msg::USERAUTH_SUCCESS);
        locked.door.phone_does("deny");
        for n in 1..=4 {
            assert_eq!(locked.log_in(JANE, &locked.jane).await[0], msg::DISCONNECT);
            locked.door.wait_for("refused", n).await;
        }
        locked.door.phone_does("fraud");
        assert_eq!(locked.log_in(FAY, &locked.fay).await[0], msg::DISCONNECT);
        locked.door.wait_for("refused", 5).await;
        locked.door.phone_does("approve");
        locked
    }

    async fn asking(&self) -> Raw {
        let mut raw = Raw::tcp_from(self.door.port, self.place).await;
        raw.say_version().await;
        raw.kex(&raw::Proposal::default()).await.expect("a key exchange");
        assert!(raw.service().await, "ssh-userauth is accepted");
        raw
    }

    /// The last packet of a login with both factors.
    async fn log_in(&self, user: &str, key: &PrivateKey) -> Vec<u8> {
        let mut raw = self.asking().await;
        raw.prove_key(user, key).await;
        let first = raw.ask(interactive(user)).await.expect("an answer");
        if first[0] == msg::INFO_REQUEST { raw.rounds().await.expect("an answer") } else { first }
    }

    /// The reason that the last packet of such a login gives.
    async fn reason(&self, user: &str, key: &PrivateKey) -> String {
        let goodbye = self.log_in(user, key).await;
        assert_eq!(goodbye[0], msg::DISCONNECT, "{goodbye:?}");
        let mut fields = Fields::of(&goodbye);
        assert_eq!(fields.number(), 14);
        fields.string()
    }
}

/// All packets up to the answer to this request, and how long it took.
async fn hear(raw: &mut Raw, request: &[u8]) -> (Vec<Vec<u8>>, Duration) {
    let began = Instant::now();
    raw.tx.send(request).await;
    let mut packets = Vec::new();
    loop {
        let packet = raw.rx.read().await.expect("an answer");
        let last =
            [msg::USERAUTH_FAILURE, msg::USERAUTH_SUCCESS, msg::PK_OK, msg::DISCONNECT].contains(&packet[0]);
        packets.push(packet);
        if last {
            return (packets, began.elapsed());
        }
    }
}

/// Everybody's requests by turns: the packets are the same each time, and so are the medians of the times.
async fn all_alike(locked: &Locked, people: &[&str], requests: impl Fn(&Raw, &str) -> Vec<Vec<u8>>) {
    let mut said: Option<Vec<Vec<Vec<u8>>>> = None;
    let mut times: Vec<Vec<Vec<Duration>>> = Vec::new();
    for _ in 0..ROUNDS {
        for (n, user) in people.iter().enumerate() {
            let mut raw = locked.asking().await;
            let mut transcript = Vec::new();
            for (what, request) in requests(&raw, user).iter().enumerate() {
                let (packets, took) = hear(&mut raw, request).await;
                assert!(is_refusal(packets.last().unwrap()), "{user} {what}: {packets:?}");
                transcript.push(packets);
                times.resize_with(times.len().max(what + 1), || vec![Vec::new(); people.len()]);
                times[what][n].push(took);
            }
            // Nothing came behind the last one: the next packet answers the next request.
            transcript.push(hear(&mut raw, &request(user, "none").0).await.0);
            assert_eq!(*said.get_or_insert_with(|| transcript.clone()), transcript, "{user}");
        }
    }
    for (what, times) in times.into_iter().enumerate() {
        let medians: Vec<Duration> = times.into_iter().map(median).collect();
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        assert!(most.abs_diff(*least) < APART, "request {what}: {people:?} {medians:?}");
        assert!(*least >= Duration::from_millis(50), "request {what}: {people:?} {medians:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_hears_the_same_of_nobody_of_the_locked_and_of_everybody_else() {
    let locked = Locked::open().await;
    let before = locked.door.phone.questions();
    let people = ["firm-no.body", "-oProxyCommand=x", BOB, JANE, FAY];
    all_alike(&locked, &people, |raw, user| {
        let key = &locked.stranger;
        vec![
            probe(user, "ssh-ed25519", &blob(key)),
            raw.signed(user, key),
            interactive(user),
            request(user, "password").flag(false).text("secret").0,
        ]
    })
    .await;
    assert_eq!(locked.door.phone.questions(), before, "no phone rings");
    locked.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_signs_with_the_right_key_hears_that_it_is_locked() {
    let locked = Locked::open().await;
    let before = locked.door.phone.questions();
    // The public half alone: worth signing, whoever is locked. A signature by another key is as wrong for all of them.
    let people = [(BOB, &locked.bob), (JANE, &locked.jane), (FAY, &locked.fay)];
    for (user, key) in people {
        let mut raw = locked.asking().await;
        let (packets, _) = hear(&mut raw, &probe(user, "ssh-ed25519", &blob(key))).await;
        assert_eq!((packets.len(), packets[0][0]), (1, msg::PK_OK), "{user} {packets:?}");
        let wrong = raw.signed_as(user, "ssh-ed25519", &blob(key), |data| {
            raw::Payload(Vec::new()).text("ssh-ed25519").text(raw::sign(&locked.stranger, data)).0
        });
        let (packets, _) = hear(&mut raw, &wrong).await;
        assert!(packets.len() == 1 && is_refusal(&packets[0]), "{user} {packets:?}");
    }
    // The right key is a proof for all of them; what follows differs.
    for (user, key) in people {
        let mut raw = locked.asking().await;
        let signed = raw.signed(user, key);
        let (packets, _) = hear(&mut raw, &signed).await;
        assert!(packets.len() == 1 && is_partial(&packets[0]), "{user} {packets:?}");
    }
    assert!(
        locked.reason(JANE, &locked.jane).await.contains("none for you with this key from here for 9 min")
    );
    let barred = locked.reason(FAY, &locked.fay).await;
    assert!(barred.starts_with("Barred from here for ") && barred.contains("(fraud)"), "{barred}");
    assert_eq!(locked.door.phone.questions(), before, "no phone rings");
    assert_eq!(locked.log_in(BOB, &locked.bob).await[0], msg::USERAUTH_SUCCESS);
    locked.door.close().await;
}
