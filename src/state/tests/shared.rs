//! What one gateway writes, the others learn, once; and what outlives a server's absence.

use super::*;

on_both!(
    orders_and_places_and_penalties_of_one_gateway_reach_another_and_not_itself,
    an_order_is_written_once_and_closed_by_its_own_moment_alone,
    what_was_there_before_is_no_change,
    gateways_that_start_at_once_migrate_once,
);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + second).unwrap()
}

fn order(ticket: &str, begun: Timestamp) -> OrderRecord {
    OrderRecord {
        user: "firm-jane.doe".into(),
        key: format!("SHA256:{}", "A".repeat(43)),
        from: "192.0.2.1".into(),
        ticket: ticket.into(),
        sites: "praxis".into(),
        may: "backup".into(),
        begun,
        until: at(3600),
    }
}

fn place(address: &str) -> UsualRecord {
    let key = format!("SHA256:{}", "A".repeat(43));
    UsualRecord { user: "firm-jane.doe".into(), key, address: address.into(), confirmed: now() }
}

/// The next one that is not the orders' again, which come anyway.
async fn news(changes: &mut Changes) -> Change {
    let news = async {
        loop {
            let change = changes.next().await;
            if change != Change::Orders {
                return change;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), news).await.expect("nothing is told")
}

async fn orders_and_places_and_penalties_of_one_gateway_reach_another_and_not_itself(bench: Bench) {
    let (one, two) = (bench.open().await, bench.open().await);
    let (mut of_one, mut of_two) = (one.changes().await.unwrap(), two.changes().await.unwrap());
    assert_eq!(of_two.next().await, Change::Orders, "the first look");
    let begun = std::time::Instant::now();
    assert!(one.put_order(&order("T-1", now())).await.unwrap());
    assert_eq!(of_two.next().await, Change::Orders);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(two.open_orders(now()).await.unwrap(), [order("T-1", now())]);
    one.note_usual(&place("192.0.2.1")).await.unwrap();
    assert_eq!(news(&mut of_two).await, Change::Usual(vec![place("192.0.2.1")]));
    one.penalise("*", "SHA256:key", at(60), "fraud");
    let Change::Penalties(penalties) = news(&mut of_two).await else { panic!("not penalties") };
    assert_eq!((penalties.len(), &*penalties[0].source, penalties[0].until), (1, "*", at(60)));
    two.note_usual(&place("192.0.2.2")).await.unwrap();
    assert_eq!(news(&mut of_one).await, Change::Usual(vec![place("192.0.2.2")]), "and nothing of its own");
}

async fn an_order_is_written_once_and_closed_by_its_own_moment_alone(bench: Bench) {
    let (one, two) = (bench.open().await, bench.open().await);
    assert!(one.put_order(&order("T-1", now())).await.unwrap());
    assert!(!two.put_order(&order("T-1", at(1))).await.unwrap(), "it is open");
    two.end_order("firm-jane.doe", "T-1", at(1)).await.unwrap();
    assert_eq!(one.open_orders(now()).await.unwrap().len(), 1, "another one was closed");
    two.end_order("firm-jane.doe", "T-1", now()).await.unwrap();
    assert_eq!(one.open_orders(now()).await.unwrap(), []);
    assert!(one.put_order(&order("T-1", now())).await.unwrap());
    bench.seconds.fetch_add(3600, Ordering::Relaxed);
    assert!(
        two.put_order(&OrderRecord { until: at(7200), ..order("T-1", at(3600)) }).await.unwrap(),
        "it is over"
    );
}

async fn what_was_there_before_is_no_change(bench: Bench) {
    let one = bench.open().await;
    one.note_usual(&place("192.0.2.1")).await.unwrap();
    let two = bench.open().await;
    let mut changes = two.changes().await.unwrap();
    one.note_usual(&place("192.0.2.2")).await.unwrap();
    assert_eq!(news(&mut changes).await, Change::Usual(vec![place("192.0.2.2")]));
    // A copy of an older day takes the database's place: all that it holds is news.
    two.0.store.pool.execute(sql("UPDATE change SET version = 0")).await.unwrap();
    let Change::Usual(places) = news(&mut changes).await else { panic!("not places") };
    assert_eq!(places.len(), 2);
}

async fn gateways_that_start_at_once_migrate_once(bench: Bench) {
    let bench = Arc::new(bench);
    let all = (0..12).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.open().await })
    });
    let states: Vec<State> = futures::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    let steps = states[0].0.store.pool.rows(sql("SELECT version FROM schema_version")).await.unwrap();
    assert_eq!(steps.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_went_away_and_came_back_has_lost_nobody_a_change_nor_a_jobs_end() {
    let mut bench = Bench::postgres();
    let (one, two) = (bench.open().await, bench.open().await);
    let mut changes = two.changes().await.unwrap();
    let number = one.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap();
    assert_eq!(changes.next().await, Change::Orders);
    let listening = tokio::spawn(async move {
        let change = news(&mut changes).await;
        (changes, change)
    });
    bench.server.as_mut().unwrap().stop();
    let begun = std::time::Instant::now();
    let refused = one.put_order(&order("T-1", now())).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(!refused.to_string().is_empty());
    one.end_job(number, 0, None).await.unwrap_err();
    one.penalise("*", "SHA256:key", at(60), "fraud");
    one.flush().await.unwrap_err();
    assert!(!listening.is_finished());
    bench.server.as_mut().unwrap().again();
    let (_changes, change) = listening.await.unwrap();
    assert!(matches!(change, Change::Penalties(_)), "{change:?}");
    until(|| async { two.jobs(9).await.is_ok_and(|jobs| jobs[0].exit == Some(0)) }).await;
    assert!(one.put_order(&order("T-1", now())).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_shown_to_the_server_alone_and_a_wrong_one_to_nobody() {
    let server = Postgres::start();
    server.create("state");
    let at = |password: Option<&str>| {
        let password = password.map(|text| crate::secret::Secret::new(text.into()));
        StateAt::Postgres(PostgresAt { url: server.loopback("state").parse().unwrap(), password, ca: None })
    };
    let open = async |password| State::open_at(&at(password), LOST_AFTER, Clock::of(now)).await;
    assert!(open(Some(postgres::PASSWORD)).await.is_ok());
    for wrong in [None, Some("falsch-geraten")] {
        let refused = open(wrong).await.err().unwrap();
        let said = format!("{refused} {refused:?}");
        assert!(said.contains("127.0.0.1") && !said.contains("falsch-geraten"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_spoken_to_by_its_name_and_its_authority_or_not_at_all() {
    let files = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (right, key) = files(&["localhost"]);
    let (other, _) = files(&["localhost"]);
    let folder = Postgres::folder(&[("tls.crt", &right), ("tls.key", &key)]);
    let (crt, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let server = Postgres::with(&[
        "ssl=on",
        &format!("ssl_cert_file={}", crt.display()),
        &format!("ssl_key_file={}", key.display()),
    ]);
    server.create("state");
    let dir = tempfile::tempdir().unwrap();
    let open = async |host: &str, ca: &str| {
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, ca).unwrap();
        let url = server.loopback("state").replace("127.0.0.1", host).parse().unwrap();
        let password = Some(crate::secret::Secret::new(postgres::PASSWORD.into()));
        let at = StateAt::Postgres(PostgresAt { url, password, ca: Some(file) });
        State::open_at(&at, LOST_AFTER, Clock::of(now)).await
    };
    let state = open("localhost", &right).await.unwrap();
    let encrypted = server.sql("postgres", "SELECT count(*) FROM pg_stat_ssl WHERE ssl");
    assert_ne!(encrypted.trim(), "0");
    drop(state);
    assert!(open("localhost", &other).await.is_err(), "another authority");
    assert!(open("127.0.0.1", &right).await.is_err(), "another name");
    let plain = Postgres::start();
    plain.create("state");
    let url = plain.loopback("state").parse().unwrap();
    let password = Some(crate::secret::Secret::new(postgres::PASSWORD.into()));
    let at = StateAt::Postgres(PostgresAt { url, password, ca: Some(dir.path().join("ca.pem")) });
    assert!(State::open_at(&at, LOST_AFTER, Clock::of(now)).await.is_err(), "no encryption");
}
