//! Slots: taken once, by whichever gateway.

use super::*;

struct Pair {
    _bench: Bench,
    states: [State; 2],
    now: Arc<AtomicI64>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn pair(bench: Bench) -> Pair {
    let now = Arc::clone(&bench.seconds);
    now.store(1000, Ordering::Relaxed);
    let states = [bench.open().await, bench.open().await];
    Pair { _bench: bench, states, now }
}

on_both!(
    of_many_racing_for_a_slot_one_gets_it_over_two_gateways,
    a_slot_is_its_holders_until_its_time_is_up_and_over_only_by_their_word,
    a_schedule_begins_once_and_anew_where_a_clock_was_wrong,
    what_was_told_waits_and_a_missing_backup_is_counted_from_the_first_question,
);

async fn of_many_racing_for_a_slot_one_gets_it_over_two_gateways(bench: Bench) {
    let bench = pair(bench).await;
    for slot in 1..=5 {
        let race: Vec<_> = (0..16)
            .map(|n| {
                let state = bench.states[n % 2].clone();
                tokio::spawn(async move {
                    let holder = n.to_string();
                    let taken = state.take_slot("a", at(slot), &holder, at(2000)).await.unwrap();
                    if taken.is_some() {
                        state.end_slot("a", at(slot), &holder).await.unwrap();
                    }
                    taken
                })
            })
            .collect();
        let won = futures::future::join_all(race).await;
        assert_eq!(won.into_iter().filter_map(|taken| taken.unwrap()).collect::<Vec<_>>(), [1]);
    }
}

async fn a_slot_is_its_holders_until_its_time_is_up_and_over_only_by_their_word(bench: Bench) {
    let bench = pair(bench).await;
    let [one, two] = &bench.states;
    let take = |state: &State, slot, holder: &'static str| {
        let state = state.clone();
        async move { state.take_slot("a", at(slot), holder, at(1300)).await.unwrap() }
    };
    assert_eq!(take(one, 900, "one").await, Some(1));
    assert_eq!(take(two, 900, "two").await, None);
    assert_eq!(take(two, 950, "two").await, None, "the earlier one is still at work");
    bench.now.store(1300, Ordering::Relaxed);
    assert_eq!(take(two, 900, "two").await, Some(2), "one did not come back");
    one.end_slot("a", at(900), "one").await.unwrap();
    assert!(!two.slots().await.unwrap()["a"].over, "it was another's by then");
    two.keep_slot("a", at(900), "two", at(1900)).await.unwrap();
    assert_eq!(take(one, 900, "one").await, None, "the next try waits");
    two.return_slot("a", at(900), "two").await.unwrap();
    assert_eq!(take(one, 900, "one").await, Some(2), "what was given back counts as no try");
    one.end_slot("a", at(900), "one").await.unwrap();
    bench.now.store(9000, Ordering::Relaxed);
    assert_eq!(take(two, 900, "two").await, None, "over is over");
    assert_eq!(take(two, 899, "two").await, None);
    assert_eq!(take(two, 901, "two").await, Some(1));
}

async fn a_schedule_begins_once_and_anew_where_a_clock_was_wrong(bench: Bench) {
    let bench = pair(bench).await;
    let [state, _] = &bench.states;
    state.begin_slots("a", at(500), at(1100)).await.unwrap();
    state.begin_slots("a", at(800), at(1100)).await.unwrap();
    assert_eq!(state.slots().await.unwrap()["a"].slot, at(500));
    assert!(state.take_slot("a", at(99_000), "x", at(99_300)).await.unwrap().is_some());
    state.begin_slots("a", at(800), at(1100)).await.unwrap();
    assert_eq!(state.slots().await.unwrap()["a"], Slot { slot: at(800), over: true, not_before: at(800) });
}

async fn what_was_told_waits_and_a_missing_backup_is_counted_from_the_first_question(bench: Bench) {
    let bench = pair(bench).await;
    let [one, two] = &bench.states;
    assert!(one.may_tell("missing a", at(900)).await.unwrap());
    assert!(!two.may_tell("missing a", at(999)).await.unwrap());
    assert!(two.may_tell("missing a", at(1000)).await.unwrap());
    assert_eq!(one.last_good_backup("a").await.unwrap(), at(1000));
    bench.now.store(2000, Ordering::Relaxed);
    assert_eq!(one.last_good_backup("a").await.unwrap(), at(1000));
    one.note_good_backup("a", at(1800)).await.unwrap();
    assert_eq!(two.last_good_backup("a").await.unwrap(), at(1800));
}
