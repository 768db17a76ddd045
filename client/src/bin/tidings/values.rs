//! What people type: durations, times, ids and ranges of ids; and how times are shown to them.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use tidings_client::Sequence;

/// The most ids that one command takes.
const MOST_IDS: usize = 1_000_000;

/// A duration as `90s`, `5m`, `2h`, `1d` or `1w`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no duration: 90s, 5m, 2h, 1d and 1w are some");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let unit = match &text[digits.len()..] {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(expected()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(expected)
}

/// An interval: at least a second.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(interval) }
}

/// A point in time: how long ago (`2h`), a date, or a time as in RFC 3339.
pub(crate) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let ago = duration(text).ok().and_then(|ago| TimeDelta::from_std(ago).ok());
    ago.and_then(|ago| Utc::now().checked_sub_signed(ago))
        .ok_or_else(|| format!("{text:?} is no time: 2h (ago), 2026-01-31 and 2026-01-31T12:00:00Z are some"))
}

/// An id, or a range of ids, `7..9`, both ends included.
fn ids(text: &str) -> Result<RangeInclusive<i64>, String> {
    let expected = || format!("{text:?} is no id: 7, or 7..9 for 7, 8 and 9");
    let one = |text: &str| match text.parse::<Sequence>() {
        Ok(id) if id > Sequence::START => Ok(id.get()),
        _ => Err(expected()),
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let range = one(first)?..=one(last)?;
    if range.is_empty() { Err(expected()) } else { Ok(range) }
}

/// The ids of several ranges, in their order, each once.
fn all_ids(ranges: &[RangeInclusive<i64>]) -> Result<Vec<Sequence>, String> {
    let mut known = std::collections::HashSet::new();
    let mut all = Vec::new();
    for number in ranges.iter().cloned().flatten() {
        if known.insert(number) {
            if all.len() == MOST_IDS {
                return Err(format!("at most {MOST_IDS} ids fit into one command"));
            }
            all.push(Sequence::new(number).map_err(|error| error.to_string())?);
        }
    }
    Ok(all)
}

/// The ids of a command line; separated by commas; `-` stands for those on the standard
/// input, which spaces and lines separate too.
pub(crate) fn read_ids(arguments: &[String]) -> Result<Vec<Sequence>, String> {
    let mut all = Vec::new();
    for argument in arguments {
        if argument == "-" {
            let input =
                io::read_to_string(io::stdin()).map_err(|error| format!("the ids can't be read: {error}"))?;
            for word in input.split([' ', '\t', '\r', '\n', ',']).filter(|word| !word.is_empty()) {
                all.push(ids(word)?);
            }
        } else {
            for word in argument.split(',') {
                all.push(ids(word)?);
            }
        }
    }
    all_ids(&all)
}

/// How long ago something was, or how soon it will be: `3m`.
pub(crate) fn distance(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    short((to - from).abs().to_std().unwrap_or_default())
}

/// A duration in one unit: `45s`, `3m`, `5h`, `12d`.
pub(crate) fn short(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn thousands(number: impl Into<i128>) -> String {
    let digits = number.into().to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| str::from_utf8(g).ok()).collect();
    format!("{sign}{}", groups.join(","))
}

/// A number of things: `1 notification`, `2,000 notifications`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number as i128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1w", 604_800)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "h", "2x", "-1h", "1.5h", "99999999999999999999s", "18446744073709551615w"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("0s").is_err());
        assert!(interval("1s").is_ok());
    }

    #[test]
    fn a_time_is_a_distance_a_date_or_itself() {
        assert_eq!(moment("2026-01-31").unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
        assert_eq!(moment("2026-01-31T12:00:00+02:00").unwrap().to_rfc3339(), "2026-01-31T10:00:00+00:00");
        let then = moment("2h").unwrap();
        let ago = Utc::now() - then;
        assert!((7200..7260).contains(&ago.num_seconds()), "{ago}");
        for bad in ["yesterday", "2026-02-30", "2h ago", "18446744073709551615"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_come_alone_and_in_ranges() {
        assert_eq!(ids("7"), Ok(7..=7));
        assert_eq!(ids("7..9"), Ok(7..=9));
        for bad in ["", "0", "-1", "01", "a", "9..7", "7..", "..7", "7...9"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
        let all: Vec<i64> = all_ids(&[3..=4, 1..=3]).unwrap().into_iter().map(Sequence::get).collect();
        assert_eq!(all, [3, 4, 1, 2]);
        assert!(all_ids(&[1..=i64::MAX]).is_err());
    }

    #[test]
    fn numbers_are_for_reading() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(-1000), "-1,000");
        assert_eq!(count(1, "notification"), "1 notification");
        assert_eq!(count(2000, "notification"), "2,000 notifications");
        assert_eq!(short(Duration::from_secs(59)), "59s");
        assert_eq!(short(Duration::from_secs(3599)), "59m");
        assert_eq!(short(Duration::from_secs(200_000)), "2d");
    }
}
