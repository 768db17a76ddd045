//! Brings the schema up to date: the migrations of both databases are inside the binary.

use std::path::Path;

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::database::DatabaseUrl;
use super::error::StoreError;
use super::seam::Result;
use super::{postgres, sqlite};

const SQLITE: EmbeddedMigrations = embed_migrations!("../migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("../migrations/postgres");

impl DatabaseUrl {
    /// Creates or updates the schema. Answers the names of the migrations that were run.
    ///
    /// # Errors
    /// When the database can't be reached, or a migration fails.
    pub fn migrate(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        match self {
            DatabaseUrl::Sqlite(path) => {
                if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty())
                    && !folder.is_dir()
                {
                    return Err(StoreError::File(format!("there is no folder {}", folder.display())));
                }
                run(&mut sqlite::connect(path)?, SQLITE, &mut names)?;
            }
            DatabaseUrl::Postgres { primary, .. } => {
                postgres::alone(primary, |conn| run(conn, POSTGRES, &mut names))?;
            }
        }
        Ok(names)
    }
}

fn run<DB: diesel::backend::Backend>(
    conn: &mut impl MigrationHarness<DB>,
    source: EmbeddedMigrations,
    names: &mut Vec<String>,
) -> Result<()> {
    let run =
        conn.run_pending_migrations(source).map_err(|error| StoreError::Migration(error.to_string()))?;
    names.extend(run.iter().map(ToString::to_string));
    Ok(())
}
