//! Events to be posted, as they are read from files or from the standard input.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use futures_channel::mpsc;
use futures_util::SinkExt as _;
use serde_json::value::RawValue;
use tidings_client::api::event::EventDocument;
use tidings_client::{Event, blocking};

use crate::failure::chain;

/// An event with the size of its document in bytes, or why reading ended early.
pub(crate) type Read = Result<(usize, Event), String>;

/// Reads documents, one after the other or in an array. At most `ahead` of them wait.
pub(crate) fn read(files: Vec<PathBuf>, ahead: usize) -> mpsc::Receiver<Read> {
    let (sender, documents) = mpsc::channel(ahead);
    // A thread, because a read from a terminal can't be broken off. It ends with the channel, or with the process.
    std::thread::spawn(move || {
        for file in files {
            let mut send = |read: Read| {
                let sent = blocking::wait(sender.clone().send(read));
                sent.map_err(|_| String::new())
            };
            if let Err(problem) = read_file(&file, &mut send) {
                // Whoever has gone doesn't want to know.
                let _ = send(Err(problem));
                return;
            }
        }
    });
    documents
}

fn read_file(file: &Path, send: &mut impl FnMut(Read) -> Result<(), String>) -> Result<(), String> {
    let place = file.display();
    if file.as_os_str() == "-" {
        return read_documents("the standard input", io::stdin(), send);
    }
    let input = fs::File::open(file).map_err(|error| format!("{place} can't be read: {error}"))?;
    read_documents(&place.to_string(), input, send)
}

fn read_documents(
    place: &str,
    input: impl io::Read,
    send: &mut impl FnMut(Read) -> Result<(), String>,
) -> Result<(), String> {
    let mut input = BufReader::new(input);
    let mut number = 0;
    let mut one = |text: &RawValue| {
        number += 1;
        let wrong = |error: &dyn std::error::Error| format!("{place}, document {number}: {}", chain(error));
        let document: EventDocument = serde_json::from_str(text.get()).map_err(|error| wrong(&error))?;
        let event = Event::from_document(document).map_err(|error| wrong(&error))?;
        send(Ok((text.get().len(), event)))
    };
    let wrong = |error: serde_json::Error| format!("{place}: {error}");
    if first_byte(&mut input) == Some(b'[') {
        let all: Vec<Box<RawValue>> = serde_json::from_reader(input).map_err(wrong)?;
        return all.iter().try_for_each(|text| one(text));
    }
    let mut all = serde_json::Deserializer::from_reader(input).into_iter::<Box<RawValue>>();
    all.try_for_each(|text| one(&text.map_err(wrong)?))
}

/// The first byte that is no space; it stays to be read.
fn first_byte(input: &mut impl io::BufRead) -> Option<u8> {
    loop {
        let buffer = input.fill_buf().ok()?;
        let spaces = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if let Some(first) = buffer.get(spaces) {
            let first = *first;
            input.consume(spaces);
            return Some(first);
        }
        if buffer.is_empty() {
            return None;
        }
        input.consume(spaces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(text: &str) -> (Vec<String>, Result<(), String>) {
        let mut types = Vec::new();
        let ended = read_documents("in", text.as_bytes(), &mut |read| {
            let (_, event) = read?;
            types.push(event.into_document().data.attributes.r#type.to_string());
            Ok(())
        });
        (types, ended)
    }

    fn document(event_type: &str) -> String {
        format!(r#"{{"data":{{"type":"notification","attributes":{{"type":"{event_type}"}}}}}}"#)
    }

    #[test]
    fn documents_stand_in_lines_or_in_an_array() {
        let (a, b) = (document("a"), document("b"));
        let pretty = b.replace(',', ",\n  ");
        for text in [format!("{a}\n{b}\n"), format!("\n {a}{pretty}"), format!(" \n[{a},\n{b}]")] {
            assert_eq!(types(&text), (vec!["a".to_owned(), "b".to_owned()], Ok(())), "{text}");
        }
        assert_eq!(types(" \n"), (vec![], Ok(())));
    }

    #[test]
    fn what_is_no_event_ends_the_reading_with_its_place() {
        let good = document("a");
        let with_id = good.replace(r#""attributes""#, r#""id":"7","attributes""#);
        let other = good.replace("notification", "job");
        let unknown = good.replace(r#""type":"a""#, r#""type":"a","colour":"red""#);
        for wrong in ["{}", "7", &with_id, &other, &unknown, &document("no type")] {
            let (read, ended) = types(&format!("{good}\n{wrong}\n{good}"));
            let problem = ended.unwrap_err();
            assert_eq!(read, ["a"], "{wrong}");
            assert!(problem.starts_with("in, document 2: "), "{problem}");
        }
        let (read, ended) = types(&format!("{good}\n{{\"data\":"));
        assert_eq!(read, ["a"]);
        assert!(ended.unwrap_err().starts_with("in: "));
    }
}
