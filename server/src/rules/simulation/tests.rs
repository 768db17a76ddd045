//! A whole day of few tenants, by the same rules as that of many.

use super::receivers::MINUTE;
use super::*;

fn day(seed: u64) -> Day {
    Day { seed, tenants: 500, events: 60_000, imported: 2_000, sick: true }
}

#[test]
fn nothing_is_stranded_or_given_up_early_whatever_the_receivers_do() {
    for seed in [1, 2] {
        let report = day(seed).pass();
        assert_eq!((report.stranded, report.too_early), (0, 0), "seed {seed}");
        for row in report.rows() {
            let name = row.kind.name();
            assert!(row.events > 0, "seed {seed}: nobody has a receiver that is {name}");
            assert_eq!(row.events, row.delivered + row.given_up + row.waiting, "seed {seed}: {name}");
        }
        // Who can take everything has taken everything, but what was under way at midnight.
        for kind in [Kind::Well, Kind::Importing, Kind::Slow, Kind::Limited, Kind::Deploying, Kind::Hanging] {
            let row = report.row(kind);
            assert!(row.waiting <= 3 && row.given_up == 0, "seed {seed}: {}: {}", kind.name(), row.waiting);
        }
    }
}

#[test]
fn receivers_that_are_well_do_not_notice_the_others() {
    let sick = day(3).pass();
    let well = Day { sick: false, ..day(3) }.pass();
    assert!(sick.row(Kind::Outage).wasted > 0 && well.row(Kind::Outage).wasted == 0);
    let (beside, alone) = (sick.row(Kind::Well), well.row(Kind::Well));
    assert_eq!(beside.events, alone.events, "not the same day");
    for (beside, alone) in beside.times.iter().zip(alone.times).take(2) {
        assert!(beside - alone <= alone / 20, "seed 3: {beside} µs beside the sick, {alone} µs without");
    }
}

#[test]
fn a_receiver_that_is_down_is_probed_once_a_minute_and_one_that_is_gone_is_left_alone() {
    let report = day(4).pass();
    for kind in [Kind::Flapping, Kind::Hanging, Kind::Outage, Kind::NotFound] {
        let row = report.row(kind);
        let times = if kind == Kind::Flapping { 24 * row.tenants } else { row.tenants } as u64;
        // Those that are under way when it begins, the probes until they come once a minute, and those.
        let most = times * (32 + 8) + row.down.unsigned_abs() / MINUTE.unsigned_abs();
        assert!(row.wasted > 0 && row.wasted <= most, "seed 4: {}: {} of {most}", kind.name(), row.wasted);
    }
    let gone = report.row(Kind::Gone);
    assert!(gone.wasted <= 33 * gone.tenants as u64, "seed 4: {}", gone.wasted);
}

#[test]
fn a_receiver_that_is_back_after_hours_gets_all_that_waited_soon() {
    let report = day(5).pass();
    let row = report.row(Kind::Outage);
    assert!(row.returns >= 10 && row.unfinished == 0, "seed 5: {} {}", row.returns, row.unfinished);
    // The next probe is at most a minute away if anything is due, as it is for most, and brings on all the rest.
    assert!(row.all[0] <= 2 * MINUTE, "seed 5: half of them within {} s", row.all[0] / SECOND);
    // A schedule that doubles its delays has, after so long a failure, at most as long a delay before it, and jitter.
    let longest = row.down / row.tenants as i64 + HOUR;
    assert!(row.all[2] <= 2 * longest, "seed 5: all within {} s", row.all[2] / SECOND);
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let printed = day(6).pass().to_string();
    assert_eq!(printed, day(6).pass().to_string());
    assert_ne!(printed, day(7).pass().to_string());
}
