//! Tests of the formats.

use serde::Serialize;

use super::*;
use crate::rows::{full, long, only};

#[derive(Serialize)]
struct Thing(&'static str, &'static str);

impl Row for Thing {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ID", 4, |row| Mood::Strong.of(row.0)),
        only(Where::Wide, full("TIME", 4, |_| Mood::Plain.of("now"))),
        long("TEXT", 0, |row| Mood::Bad.of(row.1)),
    ];
    const FIELDS: &'static [Field<Self>] = &[("id", |row| row.0.to_owned())];

    fn id(&self) -> String {
        self.0.to_owned()
    }
}

fn out(format: Format, width: Option<u16>) -> Out {
    Out { format, quiet: false, colored: false, width }
}

#[test]
fn a_table_shows_its_columns_and_wide_shows_all() {
    let rows = [Thing("7", "seven"), Thing("1000", "a\nthousand\u{1b}[31m")];
    let lines = |format| table(&rows, &out(format, None), true, false);
    assert_eq!(lines(Format::Table), "ID    TEXT\n7     seven\n1000  a thousand\u{fffd}[31m");
    assert_eq!(
        lines(Format::Wide),
        "ID    TIME  TEXT\n7     now   seven\n1000  now   a thousand\u{fffd}[31m"
    );
}

#[test]
fn a_terminal_cuts_off_what_does_not_fit() {
    let rows = [Thing("7", "one two three four five six seven eight nine ten eleven twelve")];
    let text = table(&rows, &out(Format::Table, Some(30)), true, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[1].starts_with("7") && lines[1].ends_with('…'), "{text}");
    assert!(lines[1].chars().count() <= 30, "{text}");
}

#[test]
fn rows_that_come_one_by_one_stand_below_each_other() {
    let out = out(Format::Table, Some(40));
    assert_eq!(table(&[Thing("7", "seven")], &out, true, true), "ID    TEXT\n7     seven");
    assert_eq!(table(&[Thing("1000", "more")], &out, false, true), "1000  more");
    let long = "more than fits into the forty columns of it";
    let cut = table(&[Thing("1000", long)], &out, false, true);
    assert!(cut.starts_with("1000  more than") && cut.ends_with('…') && cut.chars().count() <= 40, "{cut}");
}

#[test]
fn without_a_terminal_nothing_is_cut_off() {
    let out = out(Format::Table, None);
    let long = "word ".repeat(100);
    assert_eq!(
        table(&[Thing("1", long.trim().to_owned().leak())], &out, false, true),
        format!("1     {}", long.trim())
    );
    assert_eq!(table(&[Thing("100000", "x")], &out, false, true), "100000  x");
}

#[test]
fn the_widest_columns_give_way() {
    let fitted = |widths: &[(u16, bool)], room| {
        let mut widths = widths.to_vec();
        fit(&mut widths, room);
        widths.into_iter().map(|(width, _)| width).collect::<Vec<_>>()
    };
    assert_eq!(fitted(&[(5, false), (20, true)], 80), [5, 20]);
    assert_eq!(fitted(&[(5, false), (20, true), (60, true)], 60), [5, 20, 31]);
    assert_eq!(fitted(&[(5, false), (60, true), (u16::MAX, true)], 60), [5, 26, 25]);
    assert_eq!(fitted(&[(50, false), (60, true)], 10), [12, 8]);
}

#[test]
fn colours_are_there_when_wanted() {
    let plain = table(&[Thing("7", "seven")], &out(Format::Table, Some(40)), false, false);
    let colored = Out { colored: true, ..out(Format::Table, Some(40)) };
    let colored = table(&[Thing("7", "seven")], &colored, false, false);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(colored.contains('\u{1b}'), "{colored:?}");
}

#[test]
fn json_is_laid_out_and_its_text_kept() {
    let text = r#"{"b":1.50,"a":[],"c":{},"d":[1,{"e":"x, {y}: \"z\\"}],"n":12345678901234567890.10}"#;
    let laid_out = pretty(text);
    assert_eq!(
        laid_out,
        "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"c\": {},\n  \"d\": [\n    1,\n    {\n      \"e\": \"x, {y}: \\\"z\\\\\"\n    }\n  ],\n  \"n\": 12345678901234567890.10\n}"
    );
    assert_eq!(pretty(&laid_out), laid_out);
}
