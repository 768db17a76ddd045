use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

const SECOND: Micros = 1_000_000;

fn sent(lane: &mut Lane<u32>, now: Micros) -> Vec<u32> {
    std::iter::from_fn(|| match lane.next(now) {
        Step::Send(item) => Some(item),
        _ => None,
    })
    .collect()
}

fn limits(concurrency: usize) -> Limits {
    Limits { concurrency, per_minute: None, fifo: false }
}

fn lane(limit: usize, items: u32) -> Lane<u32> {
    with(limits(limit), items)
}

fn with(limits: Limits, items: u32) -> Lane<u32> {
    let mut lane = Lane::default();
    lane.configure(limits, 0);
    (1..=items).for_each(|item| lane.offer(item));
    lane
}

/// A sequence that no other attempt has.
fn another() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(1_000_000);
    LAST.fetch_add(1, Relaxed)
}

fn failed(lane: &mut Lane<u32>, now: Micros, asked: Option<Duration>) {
    lane.failed(now, another(), asked);
}

fn rejected(lane: &mut Lane<u32>, now: Micros) {
    lane.rejected(now, another());
}

const FIFO: Limits = Limits { concurrency: 8, per_minute: None, fifo: true };

#[test]
fn the_limit_is_never_passed_and_order_is_kept() {
    let mut lane = lane(3, 10);
    assert_eq!(sent(&mut lane, 0), [1, 2, 3]);
    lane.succeeded();
    failed(&mut lane, 0, None);
    assert_eq!(sent(&mut lane, 0), [4, 5]);
    assert_eq!(lane.in_flight(), 3);
}

#[test]
fn few_are_claimed_by_turns_and_of_many_a_share_may_be_retries() {
    let mut lane = lane(8, 0);
    assert_eq!([1, 1, 3, 3, 1].map(|count| lane.retries(count)), [1, 0, 1, 0, 1]);
    assert_eq!([4, 7, 32].map(|count| lane.retries(count)), [1, 1, 8]);
    assert_eq!(lane.retries(1), 0, "that was nobody's turn");
}

#[test]
fn nothing_is_sent_before_the_limits_are_known() {
    let mut lane = Lane::default();
    lane.offer(1);
    assert_eq!(lane.next(0), Step::Idle);
    assert_eq!(lane.wants(0), 0);
    assert!(!lane.is_idle(0));
    lane.configure(limits(2), 0);
    assert_eq!(sent(&mut lane, 0), [1]);
}

#[test]
fn limits_may_change_while_it_sends() {
    let mut lane = lane(8, 100);
    assert_eq!(sent(&mut lane, 0).len(), 8);
    lane.configure(limits(2), 0);
    for _ in 0..6 {
        lane.succeeded();
    }
    assert!(sent(&mut lane, 0).is_empty(), "two are in flight still");
    lane.succeeded();
    assert_eq!(sent(&mut lane, 0).len(), 1);
    lane.configure(limits(4), 0);
    let mut most = 0;
    for _ in 0..20 {
        lane.succeeded();
        sent(&mut lane, 0);
        most = most.max(lane.in_flight());
    }
    assert_eq!(most, 4, "the new limit is reached, and not passed");
}

#[test]
fn the_same_limits_again_change_nothing() {
    let paced = Limits { per_minute: Some(10), ..limits(8) };
    let mut lane = with(paced, 10);
    assert_eq!(sent(&mut lane, 0).len(), 1);
    (0..100).for_each(|_| lane.configure(paced, 0));
    assert_eq!(lane.next(0), Step::WaitUntil(6 * SECOND));
}

#[test]
fn a_bad_notification_does_not_stop_the_lane() {
    let mut lane = lane(1, 100);
    for _ in 0..20 {
        for _ in 0..DOWN_AFTER - 1 {
            assert_eq!(sent(&mut lane, 0).len(), 1);
            failed(&mut lane, 0, None);
        }
        assert_eq!(sent(&mut lane, 0).len(), 1, "the lane went down though the receiver answers");
        lane.succeeded();
    }
}

#[test]
fn retries_of_bad_notifications_alone_close_no_lane_but_probes_with_them_lengthen_the_pause() {
    let mut lane = lane(1, 200);
    for nth in 0..100 {
        assert_eq!(sent(&mut lane, 0).len(), 1);
        lane.failed(0, nth % (DOWN_AFTER as i64 - 1), None);
        assert!(!lane.is_down(), "after {nth}");
    }
    assert_eq!(sent(&mut lane, 0).len(), 1);
    lane.failed(0, 1000, None);
    assert!(lane.is_down(), "so many different ones are the receiver's");
    let mut now = 0;
    let pauses = [0; 4].map(|_| {
        let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
        let pause = (until - now) / SECOND;
        now = until;
        assert_eq!(sent(&mut lane, now).len(), 1);
        lane.failed(now, 1000, None);
        pause
    });
    assert_eq!(pauses, [1, 2, 4, 8]);
}

#[test]
fn a_receiver_that_is_down_is_probed_one_at_a_time_at_growing_intervals() {
    let mut lane = lane(8, 100);
    assert_eq!(sent(&mut lane, 0).len(), 8);
    (0..8).for_each(|_| failed(&mut lane, 0, None));
    assert!(lane.is_down());
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert!(sent(&mut lane, now).is_empty(), "nothing is sent during the pause");
        let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
        pauses.push((until - now) / SECOND);
        now = until;
        assert_eq!(sent(&mut lane, now).len(), 1, "one probe");
        assert_eq!(lane.wants(now), 0);
        failed(&mut lane, now, None);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], "failures of those in flight count once");
}

#[test]
fn after_a_probe_succeeds_the_rate_rises_step_by_step() {
    let mut lane = lane(8, 100);
    sent(&mut lane, 0);
    (0..8).for_each(|_| failed(&mut lane, 0, None));
    let now = 2 * SECOND;
    assert_eq!(sent(&mut lane, now).len(), 1);
    lane.succeeded();
    assert_eq!(flights(&mut lane, now), [2, 4, 8, 8]);
}

#[test]
fn only_the_end_of_an_outage_with_probes_a_minute_apart_brings_on_what_was_put_off() {
    let after = |probes: usize| {
        let mut lane = lane(8, 100);
        sent(&mut lane, 0);
        (0..8).for_each(|_| failed(&mut lane, 0, None));
        let mut now = 0;
        for _ in 0..probes {
            let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
            now = until;
            assert_eq!(sent(&mut lane, now).len(), 1);
            failed(&mut lane, now, None);
        }
        let ends = lane.succeeded();
        assert!(!lane.succeeded(), "it has ended already");
        ends
    };
    // Pauses of 1, 2, 4, 8, 16, 32 seconds, and then of 60.
    assert_eq!([after(0), after(5), after(6), after(9)], [false, false, true, true]);
    // Refused for long, and then accepted: the receiver was mended.
    let mut lane = lane(1, 100);
    let mut now = 0;
    for _ in 0..REFUSING_AFTER + 7 {
        if let Step::WaitUntil(until) = lane.next(now) {
            now = until;
            sent(&mut lane, now);
        }
        rejected(&mut lane, now);
    }
    assert!(lane.succeeded());
}

/// How many go at once, when all that are in flight succeed before the next go.
fn flights(lane: &mut Lane<u32>, now: Micros) -> Vec<usize> {
    let mut flights = Vec::new();
    for _ in 0..4 {
        let flight = sent(lane, now).len();
        flights.push(flight);
        for _ in 0..flight {
            lane.succeeded();
        }
    }
    flights
}

#[test]
fn a_backlog_is_begun_with_one_and_the_rate_rises() {
    let mut lane = lane(8, 0);
    lane.rise();
    assert_eq!(lane.wants(0), 4);
    (1..=100).for_each(|item| lane.offer(item));
    assert_eq!(flights(&mut lane, 0), [1, 2, 4, 8]);
}

#[test]
fn retry_after_is_obeyed_within_an_hour() {
    let mut lane = lane(4, 10);
    assert_eq!(sent(&mut lane, 0).len(), 4);
    failed(&mut lane, 0, Some(Duration::from_secs(30)));
    assert_eq!(lane.next(29 * SECOND), Step::WaitUntil(30 * SECOND));
    failed(&mut lane, 0, Some(Duration::from_secs(u64::MAX)));
    assert_eq!(lane.next(0), Step::WaitUntil(3600 * SECOND));
    failed(&mut lane, 0, Some(Duration::from_secs(1)));
    assert_eq!(lane.next(0), Step::WaitUntil(3600 * SECOND), "a shorter wish doesn't end a longer one");
    lane.succeeded();
    assert_eq!(lane.next(0), Step::WaitUntil(3600 * SECOND), "an older attempt's success doesn't end it");
    assert_eq!(sent(&mut lane, 3600 * SECOND).len(), 2, "then the rate rises from the beginning");
}

#[test]
fn refused_notifications_take_no_lane_down_and_open_one_that_was() {
    let mut lane = lane(1, 100);
    for _ in 0..REFUSING_AFTER - 2 {
        assert_eq!(sent(&mut lane, 0).len(), 1);
        rejected(&mut lane, 0);
    }
    for _ in 0..DOWN_AFTER {
        assert_eq!(sent(&mut lane, 0).len(), 1);
        failed(&mut lane, 0, None);
    }
    assert!(lane.is_down());
    assert_eq!(sent(&mut lane, 2 * SECOND).len(), 1);
    rejected(&mut lane, 2 * SECOND);
    assert!(!lane.is_down(), "a receiver that refuses the probe is there");
}

#[test]
fn a_receiver_that_refuses_everything_is_probed_until_it_takes_one() {
    let mut lane = lane(4, 200);
    // The same ones, however often, are no sign of that.
    for nth in 0..200 {
        lane.rejected(0, nth % (REFUSING_AFTER as i64 - 1));
    }
    assert_eq!(sent(&mut lane, 0).len(), 4);
    (0..4).for_each(|_| rejected(&mut lane, 0));
    assert!(lane.is_down());
    let mut now = 0;
    let pauses = [0; 4].map(|_| {
        let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
        let pause = (until - now) / SECOND;
        now = until;
        assert_eq!(sent(&mut lane, now).len(), 1, "one probe");
        rejected(&mut lane, now);
        pause
    });
    assert_eq!(pauses, [1, 2, 4, 8]);
    now += 16 * SECOND;
    assert_eq!(sent(&mut lane, now).len(), 1);
    lane.succeeded();
    assert!(!lane.is_down());
    for _ in 0..REFUSING_AFTER - 1 {
        rejected(&mut lane, now);
    }
    assert!(!lane.is_down(), "counted anew since it has taken one");
    rejected(&mut lane, now);
    assert!(lane.is_down());
    lane.forgive();
    assert_eq!(flights(&mut lane, now), [1, 2, 4, 4]);
    assert!(!lane.is_down(), "an admin's word is enough, too");
}

#[test]
fn another_receiver_starts_afresh_at_a_rising_rate() {
    let mut lane = lane(4, 100);
    sent(&mut lane, 0);
    (0..4).for_each(|_| failed(&mut lane, 0, Some(Duration::from_secs(600))));
    lane.hold(600 * SECOND);
    assert!(lane.is_down());
    lane.forgive();
    assert_eq!(flights(&mut lane, 0), [1, 2, 4, 4]);
}

#[test]
fn a_late_success_of_an_old_attempt_opens_the_lane() {
    let mut lane = lane(6, 20);
    sent(&mut lane, 0);
    (0..5).for_each(|_| failed(&mut lane, 0, None));
    assert!(lane.is_down());
    lane.succeeded();
    assert!(!lane.is_down());
    assert_eq!(sent(&mut lane, 0).len(), 2);
}

#[test]
fn a_clock_put_back_makes_no_pause_longer() {
    let hour = 3600 * SECOND;
    let mut lane = lane(8, 100);
    sent(&mut lane, hour);
    (0..8).for_each(|_| failed(&mut lane, hour, Some(Duration::from_secs(30))));
    assert_eq!(lane.next(hour), Step::WaitUntil(hour + 30 * SECOND));
    assert_eq!(sent(&mut lane, 0).len(), 1, "a probe, rather than an hour of silence");
    failed(&mut lane, 0, None);
    assert_eq!(lane.next(0), Step::WaitUntil(2 * SECOND), "and the pauses go on from there");
}

#[test]
fn a_rate_limit_spreads_attempts_and_is_not_forgotten() {
    let mut lane = with(Limits { per_minute: Some(10), ..limits(8) }, 100);
    assert_eq!(sent(&mut lane, 0).len(), 1);
    assert_eq!(lane.next(0), Step::WaitUntil(6 * SECOND));
    lane.succeeded();
    lane.drain();
    assert!(!lane.is_idle(0), "a lane that is forgotten would begin with a full bucket");
    assert!(lane.is_idle(6 * SECOND));
    assert_eq!(lane.wants(0), 10, "a minute's worth");
}

#[test]
fn a_rate_limit_that_changes_gives_nothing_away() {
    let paced = |per_minute| Limits { per_minute: Some(per_minute), ..limits(8) };
    let mut lane = with(paced(10), 100);
    assert_eq!(sent(&mut lane, 0).len(), 1);
    lane.configure(paced(20), 0);
    assert_eq!(lane.next(0), Step::WaitUntil(3 * SECOND));
    lane.configure(limits(8), 0);
    assert_eq!(sent(&mut lane, 0).len(), 7, "up to the concurrency");
}

#[test]
fn under_strict_order_one_goes_at_a_time_and_a_failure_holds_the_rest() {
    let mut lane = with(FIFO, 10);
    assert_eq!(sent(&mut lane, 0), [1]);
    lane.succeeded();
    assert_eq!(sent(&mut lane, 0), [2]);
    failed(&mut lane, 0, None);
    lane.hold(5 * SECOND);
    assert_eq!(lane.drain().len(), 8, "handed back");
    assert_eq!(lane.next(0), Step::WaitUntil(5 * SECOND));
    assert_eq!(lane.wants(0), 0);
    assert!(!lane.is_idle(0));
    assert_eq!(lane.wants(5 * SECOND), 1, "then the head alone");
    lane.offer(2);
    assert_eq!(sent(&mut lane, 5 * SECOND), [2]);
}

#[test]
fn under_strict_order_nothing_is_wanted_before_all_is_done_and_runs_grow() {
    let mut lane = with(FIFO, 0);
    lane.rise();
    let mut runs = Vec::new();
    for _ in 0..8 {
        let run = lane.wants(0);
        runs.push(run);
        (0..run).for_each(|_| lane.offer(1));
        for _ in 0..run {
            assert_eq!(lane.wants(0), 0);
            assert_eq!(sent(&mut lane, 0).len(), 1);
            assert_eq!(lane.wants(0), 0, "one is in flight");
            lane.succeeded();
        }
    }
    assert_eq!(runs, [1, 2, 4, 8, 16, 32, 64, 64]);
}

#[test]
fn under_strict_order_a_receiver_that_is_down_is_probed_when_the_hold_and_the_pause_are_over() {
    let mut lane = with(FIFO, 0);
    lane.rise();
    let mut now = 0;
    for nth in 0..10 {
        assert_eq!(lane.wants(now), 1);
        lane.offer(1);
        assert_eq!(sent(&mut lane, now).len(), 1);
        lane.failed(now, 1, None);
        lane.hold(now + 3 * SECOND);
        let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
        let pause = if nth < 4 { 0 } else { (SECOND << (nth - 4)).min(60 * SECOND) };
        assert_eq!(until - now, pause.max(3 * SECOND));
        now = until;
    }
}

#[test]
fn a_lane_of_a_node_that_is_gone_begins_with_an_empty_bucket_and_one_at_a_time() {
    let limits = Limits { per_minute: Some(60), ..limits(8) };
    let mut fresh = with(limits, 9);
    assert_eq!(sent(&mut fresh, 0), [1, 2], "a second's worth");
    let mut known = with(limits, 9);
    known.inherit(0);
    // Or it is known before the limits are.
    let mut unknown = Lane::default();
    unknown.inherit(0);
    unknown.configure(limits, 0);
    (1..=9).for_each(|item| unknown.offer(item));
    for mut lane in [known, unknown] {
        assert_eq!(sent(&mut lane, 0), [] as [u32; 0]);
        assert_eq!(sent(&mut lane, 2 * SECOND), [1], "it rises");
        lane.configure(limits, 2 * SECOND);
        assert_eq!(sent(&mut lane, 2 * SECOND), [] as [u32; 0]);
    }
    let mut without = lane(8, 9);
    without.inherit(0);
    assert_eq!(sent(&mut without, 0), [1]);
}
