//! What is printed: the formats, and whether there are colours. How a kind of thing looks stands with it, in `rows`.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Row as TableRow, Table, Width,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::progress;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    // These are no doc comments: they would make every help twice as long.
    // Columns for reading, as wide as the terminal.
    #[default]
    Table,
    // More columns.
    Wide,
    // One JSON document.
    Json,
    // One JSON document per line.
    Ndjson,
    // Comma-separated values with a header.
    Csv,
    // The ids alone, one per line.
    Ids,
}

/// Where and how to print.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) format: Format,
    /// Nothing is said but results and errors.
    pub(crate) quiet: bool,
    pub(crate) colored: bool,
    /// How wide the terminal is. None: the standard output is none, and nothing is cut off.
    pub(crate) width: Option<u16>,
}

impl Out {
    pub(crate) fn new(format: Option<Format>, no_color: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Out {
            format: format.unwrap_or_default(),
            quiet,
            colored: terminal && !no_color && !refused && !dumb,
            width: Table::new().width(),
        }
    }

    /// Whether people are meant to read it.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.write_all(b"\n")?)
    }

    /// Prints a document for programs.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document).map_err(|error| Failure::new(error.to_string()))?;
        self.line(&if self.format == Format::Ndjson { text } else { pretty(&text) })
    }

    /// Says something beside the results, on the standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            progress::say(text);
        }
    }
}

/// A cell: its text, and how it is to be taken.
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) mood: Mood,
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Plain,
    Strong,
    Faint,
    Good,
    Busy,
    Bad,
}

impl Mood {
    pub(crate) fn of(self, text: impl Into<String>) -> Shown {
        Shown { text: text.into(), mood: self }
    }
}

/// Where a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Always,
    /// Only in `wide`.
    Wide,
    /// Only where rows are printed one by one.
    Live,
    /// Only where they are not.
    Still,
}

/// A column of a table.
pub(crate) struct Column<T> {
    pub(crate) name: &'static str,
    pub(crate) shown: Where,
    /// How wide it is where rows are printed one by one; 0 takes what is left.
    pub(crate) width: u16,
    /// Whether it may be cut off so that a row fits into the terminal.
    pub(crate) shrinks: bool,
    pub(crate) show: fn(&T) -> Shown,
}

/// A field of the CSV: its name, and its value as programs want it.
pub(crate) type Field<T> = (&'static str, fn(&T) -> String);

/// What can be listed.
pub(crate) trait Row: Serialize + Sized + 'static {
    const COLUMNS: &'static [Column<Self>];
    const FIELDS: &'static [Field<Self>];

    fn id(&self) -> String;
}

/// A list on its way to the output.
pub(crate) struct Listing<'o, T> {
    out: &'o Out,
    /// Rows are printed as they come, and don't wait for the widest.
    live: bool,
    printed: usize,
    waiting: Vec<T>,
}

/// This many rows of a table decide together how wide its columns are.
const TOGETHER: usize = 1_000;

impl<'o, T: Row> Listing<'o, T> {
    pub(crate) fn new(out: &'o Out) -> Self {
        Listing { out, live: false, printed: 0, waiting: Vec::new() }
    }

    /// A list that may never end.
    pub(crate) fn live(out: &'o Out) -> Self {
        Listing { live: true, ..Listing::new(out) }
    }

    pub(crate) fn add(&mut self, row: T) -> Result<(), Failure> {
        match self.out.format {
            Format::Table | Format::Wide => {
                self.waiting.push(row);
                if self.live || self.waiting.len() == TOGETHER {
                    self.flush()?;
                }
                return Ok(());
            }
            // A list without an end is no document; then each is its own.
            Format::Json if self.live => self.out.json(&row)?,
            Format::Json => {
                let text = serde_json::to_string(&row).map_err(|error| Failure::new(error.to_string()))?;
                let text = pretty(&text).replace('\n', "\n  ");
                let before = if self.printed == 0 { "[\n  " } else { ",\n  " };
                io::stdout().lock().write_all(format!("{before}{text}").as_bytes())?;
            }
            Format::Ndjson => self.out.json(&row)?,
            Format::Csv => {
                if self.printed == 0 {
                    self.csv(T::FIELDS.iter().map(|(name, _)| (*name).to_owned()))?;
                }
                self.csv(T::FIELDS.iter().map(|(_, value)| value(&row)))?;
            }
            Format::Ids => self.out.line(&row.id())?,
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints what is left, and gives back how many there were.
    pub(crate) fn finish(mut self) -> Result<usize, Failure> {
        self.flush()?;
        match (self.out.format, self.printed) {
            (Format::Json, 0) if !self.live => self.out.line("[]")?,
            (Format::Json, _) if !self.live => self.out.line("\n]")?,
            (Format::Csv, 0) => self.csv(T::FIELDS.iter().map(|(name, _)| (*name).to_owned()))?,
            _ => {}
        }
        Ok(self.printed)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let text = table(&rows, self.out, self.printed == 0, self.live);
        self.printed += rows.len();
        self.out.line(&text)
    }

    fn csv(&self, fields: impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut line = Vec::new();
        let mut writer = csv::WriterBuilder::new().from_writer(&mut line);
        let written = writer.write_record(fields.collect::<Vec<_>>());
        written.map_err(|error| Failure::new(error.to_string()))?;
        drop(writer);
        Ok(io::stdout().lock().write_all(&line)?)
    }
}

fn table<T: Row>(rows: &[T], out: &Out, header: bool, live: bool) -> String {
    let is_shown = |column: &&Column<T>| match column.shown {
        Where::Always => true,
        Where::Wide => out.format == Format::Wide,
        Where::Live => live,
        Where::Still => !live,
    };
    let columns: Vec<&Column<T>> = T::COLUMNS.iter().filter(is_shown).collect();
    let mut table = bare_table(out);
    if header {
        let names = columns.iter().map(|column| cell(&Mood::Faint.of(column.name)));
        table.set_header(row(names.collect(), out));
    }
    for shown in rows {
        table.add_row(row(columns.iter().map(|column| cell(&(column.show)(shown))).collect(), out));
    }
    space(&mut table);
    let content = table.column_max_content_widths();
    let wanted = columns.iter().zip(content).map(|(column, content)| match (live, column.width) {
        (false, _) => content,
        (true, 0) => u16::MAX,
        (true, width) => width,
    });
    let mut widths: Vec<(u16, bool)> =
        wanted.zip(&columns).map(|(wanted, column)| (wanted, column.shrinks)).collect();
    if let Some(room) = out.width {
        fit(&mut widths, room);
    }
    for (column, (width, _)) in table.column_iter_mut().zip(widths) {
        let width = Width::Fixed(width.saturating_add(APART));
        if out.width.is_some() {
            column.set_constraint(ColumnConstraint::Absolute(width));
        } else if live && width != Width::Fixed(u16::MAX) {
            column.set_constraint(ColumnConstraint::LowerBoundary(width));
        }
    }
    table.trim_fmt()
}

/// A row; on a terminal, what doesn't fit is cut off.
fn row(cells: Vec<Cell>, out: &Out) -> TableRow {
    let mut row = TableRow::from(cells);
    if out.width.is_some() {
        row.max_height(1);
    }
    row
}

/// The spaces between two columns.
const APART: u16 = 2;
/// No column is cut off shorter than this.
const LEAST: u16 = 8;

/// Makes columns narrower, the widest first, until they fit or no more can be done.
fn fit(widths: &mut [(u16, bool)], room: u16) {
    // The last one needs no space behind it.
    let room = i64::from(room.max(1)) + i64::from(APART);
    for (width, _) in &mut *widths {
        *width = (*width).min(u16::try_from(room).unwrap_or(u16::MAX));
    }
    loop {
        let taken: i64 = widths.iter().map(|(width, _)| i64::from(*width) + i64::from(APART)).sum();
        let widest = widths.iter_mut().filter(|(width, shrinks)| *shrinks && *width > LEAST);
        match widest.max_by_key(|(width, _)| *width) {
            Some((width, _)) if taken > room => *width -= 1,
            _ => return,
        }
    }
}

/// Names and values, one below the other.
pub(crate) fn pairs(out: &Out, pairs: impl IntoIterator<Item = (String, Shown)>) -> Result<(), Failure> {
    let mut table = bare_table(out);
    for (name, value) in pairs {
        table.add_row(vec![cell(&Mood::Faint.of(name)), cell(&value)]);
    }
    space(&mut table);
    if table.is_empty() { Ok(()) } else { out.line(&table.trim_fmt()) }
}

fn bare_table(out: &Out) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_truncation_indicator("…");
    table.force_no_tty();
    if out.colored {
        table.enforce_styling().style_text_only();
    }
    match out.width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// Puts the columns apart.
fn space(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, APART));
    }
}

fn cell(shown: &Shown) -> Cell {
    let cell = Cell::new(printable(&shown.text));
    match shown.mood {
        Mood::Plain => cell,
        Mood::Strong => cell.add_attribute(Attribute::Bold),
        Mood::Faint => cell.add_attribute(Attribute::Dim),
        Mood::Good => cell.fg(Color::DarkGreen),
        Mood::Busy => cell.fg(Color::DarkYellow),
        Mood::Bad => cell.fg(Color::DarkRed),
    }
}

/// Text of others on one line, without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            // Control characters, and those that turn the direction of writing.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// JSON with lines and indents. Numbers and the order of members stay as they are.
pub(crate) fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut chars = json.chars().filter(|c| *c != '\n' && *c != '\r').peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            text.push(c);
            continue;
        }
        match c {
            ' ' | '\t' => {}
            '{' | '[' => {
                text.push(c);
                while chars.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = c == '"';
                text.push(c);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
