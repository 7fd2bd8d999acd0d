//! Jobs: numbered over all gateways, and lost with theirs alone.

use super::*;

on_both!(
    jobs_are_numbered_over_restarts_and_lost_ones_are_said_to_be_that,
    a_job_that_runs_is_not_hidden_by_any_number_of_later_ones,
    one_unfinished_restore_a_box_is_kept_until_its_end,
    the_jobs_of_a_gateway_that_is_there_are_not_lost_when_another_one_starts,
    numbers_are_given_once_to_many_that_race_for_them,
    a_box_is_one_gateways_until_its_job_ends_or_it_is_gone,
    a_clean_end_leaves_nothing_to_wait_for,
    a_command_with_a_nul_is_written_down,
);

async fn jobs_are_numbered_over_restarts_and_lost_ones_are_said_to_be_that(bench: Bench) {
    {
        let state = bench.open().await;
        assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "konnektor backup").await.unwrap(), 1);
        assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "konnektor restore").await.unwrap(), 2);
        state.end_job(1, 0, None).await.unwrap();
    }
    let state = bench.open().await;
    until(|| async { state.jobs(2).await.unwrap().iter().all(|job| job.ended.is_some()) }).await;
    assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap(), 3);
    let jobs = state.jobs(2).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((jobs[0].exit, jobs[0].cause.as_deref()), (Some(1), Some("gateway-ended")));
    assert_eq!((jobs[1].exit, jobs[1].ended), (None, None));
}

async fn a_job_that_runs_is_not_hidden_by_any_number_of_later_ones(bench: Bench) {
    let state = bench.open().await;
    assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "konnektor restore").await.unwrap(), 1);
    for _ in 0..5 {
        let number = state.begin_job("labor/main", "other-max.muster", "konnektor backup").await.unwrap();
        state.end_job(number, 1, None).await.unwrap();
    }
    let jobs = state.jobs(3).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [5, 6, 1]);
}

async fn one_unfinished_restore_a_box_is_kept_until_its_end(bench: Bench) {
    let state = bench.open().await;
    state.keep_unfinished("praxis/main", "a").await.unwrap();
    state.keep_unfinished("praxis/main", "b").await.unwrap();
    assert_eq!(state.unfinished("praxis/main").await.unwrap().as_deref(), Some("b"));
    assert_eq!(state.unfinished("praxis/second").await.unwrap(), None);
    state.forget_unfinished("praxis/main").await.unwrap();
    assert_eq!(state.unfinished("praxis/main").await.unwrap(), None);
}

async fn the_jobs_of_a_gateway_that_is_there_are_not_lost_when_another_one_starts(bench: Bench) {
    let one = bench.open().await;
    let number = one.begin_job("praxis/main", "firm-jane.doe", "konnektor backup").await.unwrap();
    let two = bench.open().await;
    assert_eq!(two.close_lost_jobs().await.unwrap(), 0);
    // As long as two others would have to be gone to count as such.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(two.close_lost_jobs().await.unwrap(), 0);
    assert_eq!(two.jobs(9).await.unwrap()[0].ended, None);
    one.end_job(number, 0, None).await.unwrap();
    assert_eq!(two.jobs(9).await.unwrap()[0].exit, Some(0));
}

async fn numbers_are_given_once_to_many_that_race_for_them(bench: Bench) {
    let states = [bench.open().await, bench.open().await];
    let race = (0..16).map(|n| {
        let state = states[n % 2].clone();
        tokio::spawn(async move { state.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap() })
    });
    let mut numbers: Vec<u32> =
        futures::future::join_all(race).await.into_iter().map(|number| number.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
}

async fn a_box_is_one_gateways_until_its_job_ends_or_it_is_gone(bench: Bench) {
    let (one, two) = (bench.open().await, bench.open().await);
    let begin = async |state: &State| state.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap();
    let (first, second) = (begin(&one).await, begin(&two).await);
    assert_eq!(one.take_turn("praxis/main", first).await.unwrap(), None);
    assert_eq!(two.take_turn("praxis/main", second).await.unwrap(), Some(first));
    assert_eq!(two.take_turn("praxis/second", second).await.unwrap(), None, "another box");
    one.end_job(first, 0, None).await.unwrap();
    assert_eq!(two.take_turn("praxis/main", second).await.unwrap(), None);
    let third = begin(&one).await;
    assert_eq!(one.take_turn("praxis/main", third).await.unwrap(), Some(second));
    drop(two);
    until(|| async { one.take_turn("praxis/main", third).await.unwrap().is_none() }).await;
}

async fn a_clean_end_leaves_nothing_to_wait_for(bench: Bench) {
    let one = bench.open().await;
    one.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap();
    one.close().await.unwrap();
    // It does not say that it is there any more, as it did several times a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let there = one.0.store.pool.rows(sql("SELECT holder FROM gateway")).await.unwrap();
    assert_eq!(there.len(), 0);
    if let StateAt::Sqlite(file) = bench.at() {
        let left = std::fs::read_dir(file.parent().unwrap()).unwrap();
        let left =
            left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("-run-"));
        assert_eq!(left.count(), 0);
    }
    let two = State::open_at(&bench.at(), LOST_AFTER, bench.clock()).await.unwrap();
    until(|| async { two.jobs(9).await.unwrap()[0].ended.is_some() }).await;
}

async fn a_command_with_a_nul_is_written_down(bench: Bench) {
    let state = bench.open().await;
    state.begin_job("praxis/main", "firm-jane.doe", "a\0b").await.unwrap();
    assert_eq!(state.jobs(9).await.unwrap()[0].command, "a\u{fffd}b");
}
