//! What handlers write with the inbox, and what a failure takes with it.

use diesel::Connection as _;

use super::*;
use crate::inbox::State;

const TABLE: &str = "CREATE TABLE effects (id INTEGER NOT NULL, note TEXT)";

fn handled(inbox: &Inbox, id: i64) -> bool {
    block_on(inbox.get(sequence(id))).unwrap().unwrap().state == State::Handled
}

fn written(inbox: &Inbox) -> i64 {
    number(inbox, "SELECT count(*) AS number FROM effects")
}

fn insert() -> Vec<Effect> {
    effect(|conn| Ok(conn.batch_execute("INSERT INTO effects (id) VALUES (1)")?))
}

fn prepared(count: i64) -> (TempDir, Inbox) {
    let (folder, _, inbox) = new_inbox();
    execute(&inbox, TABLE).unwrap();
    block_on(inbox.store_page(None, page(1..=count), sequence(count))).unwrap();
    assert_eq!(claim(&inbox, 1000).len() as i64, count);
    (folder, inbox)
}

#[test]
fn effects_are_written_with_the_end_and_only_once() {
    let (_folder, inbox) = prepared(1);
    let two: Vec<Effect> = insert().into_iter().chain(insert()).collect();
    block_on(inbox.finish(sequence(1), End::Handled, two)).unwrap();
    assert!(handled(&inbox, 1));
    assert_eq!(written(&inbox), 2);
    // Someone who did not learn of it tries once more.
    block_on(inbox.finish(sequence(1), End::Handled, insert())).unwrap();
    block_on(inbox.finish(sequence(9), End::Handled, insert())).unwrap();
    assert_eq!(written(&inbox), 2);
    finish(&inbox, 1, End::Dead("too late".to_owned()));
    assert!(handled(&inbox, 1));
}

/// Has the second of three fail in one transaction with the others.
fn only_the_second_fails(effects: Vec<Effect>) -> Error {
    let (_folder, inbox) = prepared(3);
    let mut outcomes = together(
        &inbox,
        vec![
            inbox.finish(sequence(1), End::Handled, insert()),
            inbox.finish(sequence(2), End::Handled, effects),
            inbox.finish(sequence(3), End::Handled, insert()),
        ],
    );
    let error = outcomes.remove(1).unwrap_err();
    outcomes.into_iter().for_each(Result::unwrap);
    assert_eq!([1, 2, 3].map(|id| handled(&inbox, id)), [true, false, true]);
    assert_eq!(written(&inbox), 2);
    // And all goes on.
    block_on(inbox.finish(sequence(2), End::Handled, insert())).unwrap();
    assert_eq!(written(&inbox), 3);
    error
}

#[test]
fn an_effect_that_fails_takes_nothing_with_it_but_its_own() {
    let fail = effect(|_| Err("no luck".into()));
    let error = only_the_second_fails(insert().into_iter().chain(fail).collect());
    assert!(matches!(&error, Error::Effect(inner) if inner.to_string() == "no luck"), "{error:?}");

    let fail = effect(|conn| Ok(conn.batch_execute("INSERT INTO nowhere VALUES (1)")?));
    let error = only_the_second_fails(insert().into_iter().chain(fail).collect());
    assert!(matches!(&error, Error::Effect(inner) if inner.to_string().contains("nowhere")), "{error:?}");
}

#[test]
fn an_effect_that_panics_takes_nothing_with_it_but_its_own() {
    let error = only_the_second_fails(effect(|conn| {
        conn.transaction(|conn| {
            conn.batch_execute("INSERT INTO effects (id) VALUES (2)")?;
            panic!("on purpose")
        })
    }));
    assert!(matches!(error, Error::Effect(_)), "{error:?}");
}

#[test]
fn an_effect_can_have_transactions_of_its_own() {
    let (_folder, inbox) = prepared(1);
    let nested = effect(|conn| {
        conn.transaction(|conn| conn.batch_execute("INSERT INTO effects (id) VALUES (1)"))?;
        let undone = conn.transaction(|conn| {
            conn.batch_execute("INSERT INTO effects (id) VALUES (1)")?;
            Err::<(), _>(diesel::result::Error::RollbackTransaction)
        });
        assert!(undone.is_err());
        Ok(())
    });
    block_on(inbox.finish(sequence(1), End::Handled, nested)).unwrap();
    assert!(handled(&inbox, 1));
    assert_eq!(written(&inbox), 1);
}

#[test]
fn an_effect_that_leaves_a_transaction_open_is_undone() {
    use diesel::connection::{AnsiTransactionManager, TransactionManager};
    let error = only_the_second_fails(effect(|conn| {
        AnsiTransactionManager::begin_transaction(conn)?;
        Ok(conn.batch_execute("INSERT INTO effects (id) VALUES (2)")?)
    }));
    assert!(matches!(error, Error::Effect(_)), "{error:?}");
}

#[test]
fn an_effect_that_ends_the_transaction_of_the_inbox_does_not_end_the_inbox() {
    for end in ["ROLLBACK", "COMMIT"] {
        let (_folder, inbox) = prepared(2);
        let outcomes = together(
            &inbox,
            vec![
                inbox.finish(sequence(1), End::Handled, Vec::new()),
                inbox.finish(sequence(2), End::Handled, effect(move |conn| Ok(conn.batch_execute(end)?))),
            ],
        );
        assert!(outcomes[0].is_ok(), "{end}: {outcomes:?}");
        // Whatever became of it, the answer is not the wrong one.
        assert_eq!(outcomes[1].is_ok(), handled(&inbox, 2), "{end}: {outcomes:?}");
        assert_eq!(outcomes[1].is_ok(), end == "COMMIT");
        assert!(handled(&inbox, 1), "{end}");
        block_on(inbox.receive(None, incoming(3, false))).unwrap();
        assert_eq!(block_on(inbox.held()).unwrap(), [1..=3], "{end}");
    }
}

const FAMILY: &str = "CREATE TABLE parents (id INTEGER PRIMARY KEY); \
     CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)";

fn orphan() -> Vec<Effect> {
    effect(|conn| Ok(conn.batch_execute("INSERT INTO children VALUES (1)")?))
}

#[test]
fn one_that_makes_the_commit_fail_is_found_and_does_no_lasting_harm() {
    let (_folder, inbox) = prepared(8);
    execute(&inbox, FAMILY).unwrap();
    let round = || {
        let effects = |id| if id == 3 { orphan() } else { insert() };
        let ids = (1..=8).map(|id| inbox.finish(sequence(id), End::Handled, effects(id)));
        together(&inbox, ids.collect())
    };
    // Whose fault it is can't be told; what all had to write is gone.
    let outcomes = round();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::EffectsLost))), "{outcomes:?}");
    assert_eq!(written(&inbox), 0);
    // The next time each is on its own.
    for (id, outcome) in (1..).zip(round()) {
        match id {
            3 => assert!(matches!(outcome, Err(Error::Effect(_))), "{outcome:?}"),
            _ => assert!(outcome.is_ok(), "{id}: {outcome:?}"),
        }
        assert_eq!(handled(&inbox, id), id != 3);
    }
    assert_eq!(written(&inbox), 7);
    block_on(inbox.finish(sequence(3), End::Handled, insert())).unwrap();
    assert!(handled(&inbox, 3));
}

/// What a handler may have put into an effect.
struct PanicsAtTheEnd;

impl Drop for PanicsAtTheEnd {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_does_not_end_the_threads_of_the_inbox() {
    let (_folder, inbox) = prepared(3);
    finish(&inbox, 1, End::Dead("no".to_owned()));
    let panics = PanicsAtTheEnd;
    let unused = effect(move |_| {
        drop(panics);
        Ok(())
    });
    // Those of one that is not waiting are not used, but they are let go.
    let outcomes = together(
        &inbox,
        vec![
            inbox.finish(sequence(1), End::Handled, unused),
            inbox.finish(sequence(2), End::Handled, insert()),
        ],
    );
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(handled(&inbox, 2));

    let broken = block_on(inbox.inner.writer.run(|conn| -> Result<(), Error> {
        conn.batch_execute("INSERT INTO effects (id) VALUES (9)")?;
        panic!("on purpose")
    }));
    assert!(matches!(broken, Err(Error::Inbox(_))), "{broken:?}");
    block_on(inbox.finish(sequence(3), End::Handled, insert())).unwrap();
    let broken = block_on(inbox.inner.reader.run(|_| -> Result<(), Error> { panic!("on purpose") }));
    assert!(matches!(broken, Err(Error::Inbox(_))), "{broken:?}");
    assert!(handled(&inbox, 3));
    assert_eq!(written(&inbox), 2, "what broke off is undone");
}

#[test]
fn a_constraint_that_is_checked_at_the_end_fails_alone() {
    let (_folder, inbox) = prepared(2);
    execute(&inbox, FAMILY).unwrap();
    let push = incoming(3, false);
    let receive = async { inbox.receive(None, push).await.map(drop) };
    let futures: Vec<futures_util::future::BoxFuture<'_, _>> = vec![
        Box::pin(inbox.finish(sequence(1), End::Handled, Vec::new())),
        Box::pin(inbox.finish(sequence(2), End::Handled, orphan())),
        Box::pin(receive),
    ];
    let outcomes = together(&inbox, futures);
    assert!(matches!(outcomes[..], [Ok(()), Err(_), Ok(())]), "{outcomes:?}");
    assert_eq!([handled(&inbox, 1), handled(&inbox, 2)], [true, false]);
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=3]);
    let error = block_on(inbox.finish(sequence(2), End::Handled, orphan())).unwrap_err();
    assert!(matches!(error, Error::Effect(_)), "alone, it is known whose it is: {error:?}");
}
