//! The command `tidings-server`.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidings_api::tenant::Role;
use tidings_server::config::{Command, CommandLine, Config, KeyCommand, TenantCommand};
use tidings_server::rules::document::rfc3339;
use tidings_server::store::error::StoreError;
use tidings_server::store::seam::{Queries, Tenant};
use tidings_server::{http, provision, serve, telemetry};

/// The system's allocator takes and gives memory under one lock, and each event passes from thread to thread. Without
/// transparent huge pages (`no_thp`): with them an idle server has twice the memory, and isn't faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("tidings-server: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: CommandLine) -> Result<(), Box<dyn Error>> {
    let command = line.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        return print(&http::openapi().to_pretty_json()?);
    }
    let config = Config::new(line.options)?;
    match command {
        Command::Serve => {
            telemetry::start_logging(config.log);
            Ok(serve::run(config)?)
        }
        Command::Openapi => Ok(()),
        Command::Config => print(config.to_string().trim_end()),
        Command::Migrate => match config.database.migrate()?.as_slice() {
            [] => print("The schema is up to date."),
            names => print(&format!("Done: {}", names.join(", "))),
        },
        Command::Backup { file } => {
            config.database.backup(&file)?;
            print(&format!("Copied to {}", file.display()))?;
            match (config.secret_key, config.database.file()) {
                (None, Some(path)) => {
                    print(&format!("Keep {path}.key with it: it opens the secrets in the copy."))
                }
                _ => Ok(()),
            }
        }
        Command::Tenant(command) => tenant(&config, command),
        Command::Key(command) => key(&config, command),
    }
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Runs a function in a transaction of its own, beside a running server.
fn with_database<T>(
    config: &Config,
    run: impl FnOnce(&mut dyn Queries) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    config.database.migrate()?;
    let mut conn = config.database.connect()?;
    let (mut run, mut result) = (Some(run), None);
    let committed = conn.atomically(&mut |conn| {
        let outcome = run.take().map(|run| run(conn));
        let failed = !matches!(outcome, Some(Ok(_)));
        result = outcome;
        // Any error undoes what was done; the caller learns the function's own.
        if failed { Err(StoreError::Undone) } else { Ok(()) }
    });
    match result {
        Some(Ok(value)) => Ok(committed.map(|()| value)?),
        Some(Err(error)) => Err(error),
        None => Err(committed.err().unwrap_or(StoreError::Closed).into()),
    }
}

fn tenant(config: &Config, command: TenantCommand) -> Result<(), Box<dyn Error>> {
    match command {
        TenantCommand::Create { name } => {
            let first = provision::first_settings(&serve::vault(config)?);
            let (tenant, secret) =
                with_database(config, |conn| Ok(provision::create_tenant(conn, first, &name, false)?))?;
            print(&format!("id              {}\nsigning secret  {secret}", tenant.public_id))
        }
        TenantCommand::List => with_database(config, |conn| {
            let mut after: Option<String> = None;
            loop {
                let tenants = conn.tenant_list(after.as_deref(), 500)?;
                let Some(last) = tenants.last() else { return Ok(()) };
                after = Some(last.public_id.clone());
                for tenant in &tenants {
                    print(&format!("{}  {}  {}", tenant.public_id, rfc3339(tenant.created_at), tenant.name))?;
                }
            }
        }),
    }
}

fn key(config: &Config, command: KeyCommand) -> Result<(), Box<dyn Error>> {
    let find = |conn: &mut dyn Queries, id: &str| -> Result<Tenant, Box<dyn Error>> {
        conn.tenant_find(id)?.ok_or_else(|| format!("there is no tenant {id}").into())
    };
    match command {
        KeyCommand::Create { tenant, role, name } => {
            let role = [Role::Producer, Role::Consumer, Role::Admin]
                .into_iter()
                .find(|known| known.as_str() == role)
                .ok_or("--role is one of producer, consumer, admin")?;
            let (key, text) = with_database(config, |conn| {
                let tenant = find(conn, &tenant)?;
                Ok(provision::create_key(conn, tenant.id, &name, role)?)
            })?;
            print(&format!("id   {}\nkey  {text}", key.id))
        }
        KeyCommand::List { tenant } => with_database(config, |conn| {
            let tenant = find(conn, &tenant)?;
            for key in conn.key_list(tenant.id)? {
                let used = key.last_used_at.map_or_else(|| "never used".to_owned(), rfc3339);
                print(&format!("{}  {:8}  {used:24}  {}", key.id, key.role, key.name))?;
            }
            Ok(())
        }),
        KeyCommand::Delete { tenant, key } => with_database(config, |conn| {
            let tenant = find(conn, &tenant)?;
            if conn.key_delete(tenant.id, &key)? {
                Ok(())
            } else {
                Err(format!("there is no key {key}").into())
            }
        }),
    }
}
