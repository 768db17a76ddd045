//! Statements with a fixed text, and what is bound to them.
//!
//! Unlike diesel's own text queries, updates and upserts they stay in the connection's statement cache, so that a row of a
//! page costs no parsing.

use std::fmt::{Display, Write as _};

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{self, BigInt, Nullable, Untyped};
use diesel::sqlite::Sqlite;

/// A statement; each `?` of its text is one of the values.
pub(super) struct Sql<'a>(pub(super) &'static str, pub(super) &'a [Bind<'a>]);

/// A value in a statement.
pub(super) enum Bind<'a> {
    Number(i64),
    Text(&'a str),
}

impl Query for Sql<'_> {
    type SqlType = Untyped;
}

impl QueryId for Sql<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Sqlite> for Sql<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut pieces = self.0.split('?');
        out.push_sql(pieces.next().unwrap_or_default());
        for (piece, bind) in pieces.zip(self.1) {
            match bind {
                Bind::Number(number) => out.push_bind_param::<BigInt, _>(number)?,
                Bind::Text(text) => out.push_bind_param::<sql_types::Text, _>(text)?,
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for Sql<'_> {}

/// The row of a statement that answers one number, in a column `number`.
#[derive(QueryableByName)]
pub(super) struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) number: Option<i64>,
}

/// The number that a statement answers.
pub(super) fn number(
    conn: &mut SqliteConnection,
    text: &'static str,
    binds: &[Bind<'_>],
) -> QueryResult<Option<i64>> {
    let row: Option<Number> = Sql(text, binds).get_result(conn).optional()?;
    Ok(row.and_then(|row| row.number))
}

/// Ids as one value, which a statement reads with `json_each`: its text does not depend on how many there are.
pub(super) fn list<Id: Display>(ids: impl IntoIterator<Item = Id>) -> String {
    let mut text = String::from("[");
    for id in ids {
        let comma = if text.len() > 1 { "," } else { "" };
        write!(text, "{comma}{id}").expect("a String takes any text");
    }
    text.push(']');
    text
}
