//! The schedules, to the second, by a clock that the tests turn.

use chrono::DateTime;
use serde_json::Value;

use super::*;
use crate::rules::settings::resolve;

const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;

/// The schedule that a tenant has which chose nothing but this profile.
fn profile(name: &str) -> Retry {
    retry_of(&format!(r#"{{"profile":"{name}"}}"#))
}

/// The schedule of a tenant that chose nothing at all.
fn default_retry() -> Retry {
    retry_of("{}")
}

fn retry_of(set: &str) -> Retry {
    let settings = resolve(set, "tenant").unwrap();
    settings.push.retry
}

/// A clock on the wall that can be put forward and back, and the time that really passes.
struct Clock {
    elapsed: Micros,
    /// What the wall shows when nothing has passed.
    begun: Micros,
    /// When the clock is put, and by how much.
    jumps: Vec<(Micros, Micros)>,
}

impl Clock {
    fn at(begun: Micros) -> Self {
        Clock { elapsed: 0, begun, jumps: Vec::new() }
    }

    fn wall(&self) -> Micros {
        let jumped =
            self.jumps.iter().filter(|(at, _)| *at <= self.elapsed).map(|(_, by)| by).sum::<Micros>();
        self.begun + self.elapsed + jumped
    }

    /// Lets time pass until the wall shows at least this.
    fn wait_until(&mut self, due: Micros) {
        while self.wall() < due {
            let next_jump = self
                .jumps
                .iter()
                .map(|(at, _)| *at)
                .filter(|at| *at > self.elapsed)
                .min()
                .unwrap_or(Micros::MAX);
            self.elapsed = next_jump.min(self.elapsed + due - self.wall());
        }
    }
}

/// What a receiver that never accepts sees of one notification: attempts, as the time that had passed and what the wall
/// showed. Each failure is stored with the time of the next attempt, and nothing else of the past is known.
fn made(retry: &Retry, clock: &mut Clock) -> Vec<(Micros, Micros)> {
    let mut seen = Vec::new();
    let mut due = clock.wall();
    loop {
        clock.wait_until(due);
        seen.push((clock.elapsed, clock.wall()));
        let failed = u32::try_from(seen.len()).unwrap();
        match delay(retry, failed, 0.0, None) {
            Some(delay) => due = clock.wall() + i64::try_from(delay.as_micros()).unwrap(),
            None => return seen,
        }
    }
}

/// When the retries come, in seconds since the first failure.
fn retries(retry: &Retry) -> Vec<i64> {
    made(retry, &mut Clock::at(0)).iter().skip(1).map(|(elapsed, _)| elapsed / SECOND).collect()
}

fn time(text: &str) -> Micros {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

#[test]
fn acrobat_sign_has_fifteen_retries_in_72_hours() {
    let retry = profile("acrobatSign");
    let expected = [
        30, 90, 210, 450, 930, 1_890, 3_810, 7_650, 15_330, 30_690, 61_410, 104_610, 147_810, 191_010,
        234_210,
    ];
    assert_eq!(retries(&retry), expected);
    assert_eq!(expected[14], 65 * 3600 + 3 * 60 + 30, "the last at 65 h 3 min 30 s");
    let delays: Vec<i64> = expected.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(delays[..4], [60, 120, 240, 480], "doubling");
    assert_eq!(delays[10..], [12 * 3600; 4], "up to twelve hours");
}

#[test]
fn what_ends_acrobat_signs_retries_is_the_time_not_only_their_number() {
    let Retry::Exponential { first_seconds, factor, cap_seconds, give_up_after_seconds, .. } =
        profile("acrobatSign")
    else {
        panic!("exponential")
    };
    let with = |give_up_after_seconds, attempts| Retry::Exponential {
        first_seconds,
        factor,
        cap_seconds,
        give_up_after_seconds,
        attempts,
        jitter: 0.0,
    };
    assert_eq!(give_up_after_seconds, Some(72 * 3600));
    assert_eq!(retries(&with(give_up_after_seconds, 100)).len(), 15);
    assert_eq!(retries(&with(None, 100)).len(), 99);
    assert_eq!(retries(&with(Some(234_210), 100)).len(), 15, "the bound itself is within");
    assert_eq!(retries(&with(Some(234_209), 100)).len(), 14);
    assert_eq!(retries(&with(Some(29), 100)).len(), 0);
}

#[test]
fn neither_jitter_nor_retry_after_costs_a_retry() {
    let retry = match profile("acrobatSign") {
        Retry::Exponential {
            first_seconds, factor, cap_seconds, give_up_after_seconds, attempts, ..
        } => Retry::Exponential {
            first_seconds,
            factor,
            cap_seconds,
            give_up_after_seconds,
            attempts,
            jitter: 1.0,
        },
        _ => panic!("exponential"),
    };
    let a_day = Some(Duration::from_secs(86_400));
    assert_eq!((1..).map_while(|failed| delay(&retry, failed, 1.0, a_day)).count(), 15);
}

#[test]
fn socrate_cloud_has_twenty_retries_five_minutes_apart() {
    let expected: Vec<i64> = (1..=20).map(|nth| nth * 300).collect();
    assert_eq!(retries(&profile("socrateCloud")), expected);
    assert_eq!(expected.last(), Some(&(100 * 60)), "the last at 100 minutes");
}

#[test]
fn standard_webhooks_has_ten_attempts_over_75_hours() {
    let retry = profile("standardWebhooks");
    let hours = |hours: i64| hours * 3600 + 5 * 60 + 5;
    let expected =
        [5, 305, 305 + 30 * 60, hours(2) + 1800, hours(7) + 1800, hours(17) + 1800, hours(31) + 1800]
            .into_iter()
            .chain([hours(51) + 1800, hours(75) + 1800])
            .collect::<Vec<_>>();
    assert_eq!(retries(&retry), expected);
    assert_eq!(expected.len() + 1, 10, "attempts in all");
    assert_eq!(expected.last(), Some(&(75 * 3600 + 35 * 60 + 5)), "cumulative 75:35:05");
}

#[test]
fn signals_never_tries_again() {
    assert_eq!(made(&profile("signals"), &mut Clock::at(0)).len(), 1);
}

#[test]
fn our_own_schedule_is_twenty_attempts_over_several_days() {
    let all = retries(&default_retry());
    assert_eq!(all.len(), 19, "twenty attempts have nineteen delays between them");
    assert_eq!(all[..4], [5, 15, 35, 75]);
    assert!((3 * 86_400..4 * 86_400).contains(all.last().unwrap()), "{all:?}");
}

#[test]
fn a_hundred_years_of_retries_keep_to_the_second() {
    let retry = Retry::Fixed { every_seconds: 604_800, attempts: 100, jitter: 0.0 };
    let begun = time("2026-11-22T00:00:00Z");
    for year in 0..100 {
        let all = made(&retry, &mut Clock::at(begun + year * 365 * DAY));
        assert_eq!(all.len(), 100);
        assert!(all.iter().zip(0..).all(|((elapsed, _), nth)| *elapsed == nth * 7 * DAY));
    }
}

#[test]
fn daylight_saving_changes_no_delay() {
    // In Central Europe clocks go from 03:00 back to 02:00 on 2026-10-25, and from 02:00 to 03:00 on 2027-03-28.
    for (first, last) in [
        ("2026-10-24T20:00:00+02:00", "2026-10-27T12:03:30+01:00"),
        ("2027-03-27T20:00:00+01:00", "2027-03-30T14:03:30+02:00"),
        // And where nothing changes:
        ("2026-11-22T20:00:00+01:00", "2026-11-25T13:03:30+01:00"),
    ] {
        let all = made(&profile("acrobatSign"), &mut Clock::at(time(first)));
        assert_eq!(all.len(), 16);
        assert_eq!(all[15].1, time(last), "65 h 3 min 30 s after {first}");
        assert_eq!(all[15].0, 65 * HOUR + 3 * MINUTE + 30 * SECOND);
    }
}

#[test]
fn a_clock_put_forward_makes_one_attempt_at_once_and_no_burst() {
    let mut clock = Clock::at(time("2026-11-22T00:00:00Z"));
    // Between the third retry at 15 minutes and the fourth; four more would have been due in the hour that is lost.
    clock.jumps = vec![(17 * MINUTE, HOUR)];
    let all: Vec<i64> =
        made(&profile("socrateCloud"), &mut clock).iter().map(|(at, _)| at / MINUTE).collect();
    assert_eq!(all[..7], [0, 5, 10, 15, 17, 22, 27]);
    assert_eq!(all.len(), 21, "none is lost, none is made twice");
}

#[test]
fn a_clock_put_back_makes_one_wait_longer_by_as_much_and_loses_nothing() {
    let mut clock = Clock::at(time("2026-11-22T00:00:00Z"));
    clock.jumps = vec![(17 * MINUTE, -HOUR)];
    let all: Vec<i64> =
        made(&profile("socrateCloud"), &mut clock).iter().map(|(at, _)| at / MINUTE).collect();
    assert_eq!(all[..6], [0, 5, 10, 15, 80, 85]);
    assert_eq!(all.len(), 21);
}

#[test]
fn a_clock_that_never_stands_still_changes_the_number_of_no_profiles_retries() {
    let profiles: Value = serde_json::from_str(include_str!("../profiles.json")).unwrap();
    for name in profiles["profiles"].as_object().unwrap().keys() {
        let retry = profile(name);
        let steady = made(&retry, &mut Clock::at(0)).len();
        assert_eq!(attempts(&retry) as usize, steady, "{name}");
        let mut clock = Clock::at(time("2026-11-22T00:00:00Z"));
        clock.jumps =
            (1..2_000).map(|nth| (nth * 7 * MINUTE, [HOUR, -HOUR, -3 * SECOND][nth as usize % 3])).collect();
        assert_eq!(made(&retry, &mut clock).len(), steady, "{name}");
    }
}

#[test]
fn jitter_adds_at_most_its_share() {
    let default = default_retry();
    for failed in 1..20 {
        let plain = delay(&default, failed, 0.0, None).unwrap();
        assert_eq!(delay(&default, failed, 1.0, None), Some(plain * 6 / 5), "a fifth");
        let some = delay(&default, failed, 0.5, None).unwrap();
        assert!(some > plain && some < plain * 6 / 5);
    }
    let fixed = |jitter| Retry::Fixed { every_seconds: 10, attempts: 3, jitter };
    assert_eq!(delay(&fixed(0.0), 1, 1.0, None), Some(Duration::from_secs(10)));
    assert_eq!(delay(&fixed(1.0), 1, 1.0, None), Some(Duration::from_secs(20)));
    let list = Retry::List { delays_seconds: vec![100, 200], jitter: 0.5 };
    assert_eq!(delay(&list, 2, 1.0, None), Some(Duration::from_secs(300)));
    assert_eq!(delay(&list, 3, 1.0, None), None);
}

#[test]
fn retry_after_lengthens_within_a_day() {
    let asked = |seconds| delay(&default_retry(), 1, 0.0, Some(Duration::from_secs(seconds)));
    assert_eq!(asked(1), Some(Duration::from_secs(5)));
    assert_eq!(asked(90), Some(Duration::from_secs(90)));
    assert_eq!(asked(u64::MAX), Some(LONGEST_ASKED));
    assert_eq!(delay(&default_retry(), 20, 0.0, Some(Duration::from_secs(1))), None);
    assert_eq!(delay(&Retry::None, 1, 0.0, Some(Duration::from_secs(1))), None);
}

#[test]
fn extreme_schedules_are_no_trouble() {
    let retry = Retry::Exponential {
        first_seconds: 86_400,
        factor: 10.0,
        cap_seconds: 604_800,
        give_up_after_seconds: Some(31_536_000),
        attempts: 100,
        jitter: 1.0,
    };
    assert_eq!((1..).map_while(|failed| delay(&retry, failed, 1.0, None)).count(), 53, "a day and 52 weeks");
    assert_eq!(delay(&retry, u32::MAX, 1.0, None), None);
    assert_eq!(delay(&retry, 0, 1.0, None), None);
    assert_eq!(attempts(&retry), 54);
}

#[test]
fn a_push_is_disabled_when_nothing_was_delivered_for_so_long() {
    let now = time("2026-11-22T12:00:00Z");
    let week = Some(7 * 86_400);
    assert!(disables(week, now, Some(now - 7 * DAY), 0));
    assert!(!disables(week, now, Some(now - 7 * DAY + 1), 0));
    assert!(!disables(None, now, None, 0), "never, where nothing was set");
    assert!(disables(week, now, None, now - 7 * DAY), "there never was a success");
    assert!(!disables(week, now, None, now - DAY), "the URL is new");
    assert!(!disables(week, now, Some(now - 30 * DAY), now - DAY), "resumed a day ago: it has its week");
    assert!(!disables(week, now, Some(now - DAY), now - 30 * DAY));
    assert!(!disables(week, now, Some(now + DAY), 0), "a clock put back disables nothing");
}
