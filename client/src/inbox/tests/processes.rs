//! Several processes on one file, killed at random. The others are this test program once more, see [`child`].

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

const INBOX: &str = "TIDINGS_TEST_INBOX";
const FIRST: &str = "TIDINGS_TEST_FIRST";

/// Not a test but another process: it pushes, reads pages, handles with effects, and says what is done once it is.
#[test]
fn child() {
    let (Ok(path), Ok(first)) = (std::env::var(INBOX), std::env::var(FIRST)) else { return };
    let mut id: i64 = first.parse().unwrap();
    let inbox = Inbox::open(path).unwrap();
    let say = |what: &str, id: i64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {id}").unwrap();
        out.flush().unwrap();
    };
    say("opened", 0);
    // Until it is killed.
    loop {
        let pushes = (id..id + 4).map(|id| {
            let inbox = &inbox;
            async move {
                inbox.receive(None, incoming(id, true)).await.unwrap();
                id
            }
        });
        for id in block_on(join_all(pushes)) {
            say("stored", id);
        }
        block_on(inbox.store_page(None, page(id..id + 10), sequence(id + 9))).unwrap();
        say("page", id + 9);
        let claimed = block_on(inbox.claim(8, Vec::new())).unwrap();
        let finish = claimed.into_iter().map(|claimed| {
            let inbox = &inbox;
            async move {
                let id = claimed.id;
                let write = effect(move |conn| {
                    Ok(conn.batch_execute(&format!("INSERT INTO effects (id) VALUES ({id})"))?)
                });
                inbox.finish(id, End::Handled, write).await.unwrap();
                id.get()
            }
        });
        for id in block_on(join_all(finish)) {
            say("handled", id);
        }
        id += 10;
    }
}

/// Not a test but another process, which stores until that has failed some times.
#[test]
fn child_without_room() {
    let (Ok(path), Ok(first)) = (std::env::var(INBOX), std::env::var(FIRST)) else { return };
    let mut id: i64 = first.parse().unwrap();
    let inbox = Inbox::open(path).unwrap();
    let mut failures = 0;
    while failures < 20 {
        let three = (id..id + 3).map(|id| {
            let large = Incoming { document: "x".repeat(10_000), ..incoming(id, true) };
            inbox.receive(None, large)
        });
        for outcome in block_on(join_all(three)) {
            match outcome {
                Ok(_) => println!("stored {id}"),
                Err(Error::DiskFull | Error::Inbox(_)) => failures += 1,
                Err(error) => panic!("{error:?}"),
            }
            id += 1;
        }
        // What there is can be read all the while.
        assert!(block_on(inbox.counts()).unwrap().waiting > 0);
    }
    println!("failed {failures}");
}

fn start(path: &Path, first: i64) -> Child {
    run(Command::new(std::env::current_exe().unwrap()), "child", path, first)
}

fn run(mut program: Command, test: &str, path: &Path, first: i64) -> Child {
    program
        .args(["--exact", &format!("inbox::tests::processes::{test}"), "--nocapture", "--test-threads", "1"])
        .env(INBOX, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process said, until it had said this much or was killed. Then it is killed.
fn hear(mut child: Child, most: usize) -> Vec<(String, i64)> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = Vec::new();
    for line in lines.map_while(Result::ok) {
        let Some((what, id)) = line.split_once(' ') else { continue };
        if let (true, Ok(id)) =
            (["opened", "stored", "page", "handled", "failed"].contains(&what), id.parse())
        {
            heard.push((what.to_owned(), id));
        }
        if heard.len() == most {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    heard
}

#[test]
fn what_was_answered_survives_a_kill() {
    let (_folder, path, inbox) = new_inbox();
    execute(&inbox, "CREATE TABLE effects (id INTEGER NOT NULL)").unwrap();
    drop(inbox);
    let (mut stored, mut handled) = (BTreeSet::new(), BTreeSet::new());
    let mut cursor = 0;
    for round in 0..12 {
        let first = stored.last().map_or(1, |last| last / 10 * 10 + 1);
        for (what, id) in hear(start(&path, first), 1 + round * 17) {
            match &*what {
                "stored" => drop(stored.insert(id)),
                "page" => {
                    stored.extend(id - 9..=id);
                    cursor = cursor.max(id);
                }
                "handled" => drop(handled.insert(id)),
                _ => {}
            }
        }
        let inbox = Inbox::open(&path).unwrap();
        let held = block_on(inbox.held()).unwrap();
        let is_held = |id: &i64| held.iter().any(|range| range.contains(id));
        assert!(stored.iter().all(is_held), "{stored:?} {held:?}");
        assert!(block_on(inbox.cursor()).unwrap().get() >= cursor);
        // The cursor came with its page, or neither did.
        let cursor = block_on(inbox.cursor()).unwrap().get();
        assert!((1..=cursor).all(|id| is_held(&id)), "{cursor} {held:?}");
        for id in &handled {
            let kept = block_on(inbox.get(sequence(*id))).unwrap().unwrap();
            assert_eq!(kept.state, crate::inbox::State::Handled, "{id}");
        }
        effects_are_exactly_those_of_the_handled(&inbox);
    }
    assert!(!handled.is_empty());
}

fn effects_are_exactly_those_of_the_handled(inbox: &Inbox) {
    let twice = "SELECT count(*) AS number FROM (SELECT id FROM effects GROUP BY id HAVING count(*) > 1)";
    assert_eq!(number(inbox, twice), 0);
    let differ = "SELECT count(*) AS number FROM inbox_notifications AS n \
         WHERE (state = 1) <> EXISTS (SELECT 1 FROM effects WHERE effects.id = n.id)";
    assert_eq!(number(inbox, differ), 0);
}

#[test]
fn processes_share_an_inbox() {
    let (_folder, path, inbox) = new_inbox();
    execute(&inbox, "CREATE TABLE effects (id INTEGER NOT NULL)").unwrap();
    let children = [1_000_001, 2_000_001].map(|first| start(&path, first));
    let threads = children.map(|child| std::thread::spawn(move || hear(child, 200)));
    let mut id = 0;
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        id += 1;
        block_on(inbox.receive(None, incoming(id, false))).unwrap();
    }
    let held = block_on(inbox.held()).unwrap();
    let is_held = |id: &i64| held.iter().any(|range| range.contains(id));
    assert!((1..=id).all(|id| is_held(&id)));
    for thread in threads {
        let heard = thread.join().unwrap();
        assert_eq!(heard.len(), 200);
        assert!(heard.iter().skip(1).all(|(_, id)| is_held(id)));
    }
    // Two that handle at the same time is what the archiver's lock is against; even then, effects are written once.
    effects_are_exactly_those_of_the_handled(&inbox);
}

#[cfg(unix)]
#[test]
fn what_is_answered_where_files_cannot_grow_is_true() {
    let (_folder, path, inbox) = new_inbox();
    block_on(inbox.receive(None, incoming(1, true))).unwrap();
    drop(inbox);
    let mut program = Command::new("sh");
    program.args(["-c", r#"trap "" XFSZ; ulimit -f 2000; exec "$0" "$@""#]);
    program.arg(std::env::current_exe().unwrap());
    let heard = hear(run(program, "child_without_room", &path, 2), usize::MAX);
    assert_eq!(heard.last().unwrap().0, "failed", "{heard:?}");
    let stored: BTreeSet<i64> =
        heard.iter().filter(|(what, _)| what == "stored").map(|(_, id)| *id).collect();
    assert!(stored.len() > 10, "{heard:?}");
    let inbox = Inbox::open(&path).unwrap();
    for id in &stored {
        let kept = block_on(inbox.get(sequence(*id))).unwrap().unwrap();
        assert_eq!(kept.document.len(), 10_000);
    }
    block_on(inbox.receive(None, incoming(1_000_000, true))).unwrap();
}
