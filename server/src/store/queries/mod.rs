//! The queries. This source is compiled once for each database, by `sqlite.rs` and `postgres.rs`, which bring the
//! connection type and the few statements that differ.

mod alerts;
mod append;
mod deliveries;
mod delivery;
mod jobs;
mod nodes;
mod notifications;
mod overdue;
mod statistics;
mod tenants;

use diesel::prelude::*;

use super::{Conn, Db, dialect};
use crate::store::seam::{Queries, Result};

impl Queries for Conn {
    fn atomically(&mut self, run: &mut dyn FnMut(&mut dyn Queries) -> Result<()>) -> Result<()> {
        dialect::transaction(self, |conn| run(conn))
    }

    fn ping(&mut self) -> Result<()> {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).execute(self)?;
        Ok(())
    }
}
