//! Where a PostgreSQL server is: its URL, taken apart as libpq does it.
//!
//! By hand, because a URL with several hosts (`postgres://a:5432,b:5432/db`) is none to a parser of URLs, and because its
//! password must be found wherever it may stand, so that it is never shown.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use percent_encoding::percent_decode_str;

use super::super::error::StoreError;
use super::super::seam::Result;
use super::Conn;

/// What is said where the URL brings nothing of its own: a connection that leads nowhere is noticed within seconds.
const DEFAULTS: [(&str, &str); 6] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "2"),
    ("tcp_user_timeout", "10000"),
    ("fallback_application_name", "tidings-server"),
];

/// Says that the connections lead through a pooler which gives them out by the transaction, or that they don't.
const POOLER: &str = "pgbouncer";

/// Where a PostgreSQL server is. Cheap to clone.
#[derive(Clone)]
pub struct Address {
    url: Arc<str>,
    shown: Arc<str>,
    /// Whether a pooler stands in between, as soon as it is known.
    pooled: Arc<OnceLock<bool>>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a parameter, as libpq reads it.
fn name(parameter: &str) -> Cow<'_, str> {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    percent_decode_str(name).decode_utf8_lossy()
}

/// Whether this is one host, with or without a port.
fn is_host(text: &str) -> bool {
    let port = match text.strip_prefix('[') {
        Some(address) => address.split_once(']').map(|(_, port)| port),
        None => Some(text.find(':').map_or("", |at| &text[at..])),
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(digits))
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it can't be one. Nothing of it is repeated: any part may be the password.
    pub(in super::super) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| StoreError::Url(why.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("postgres:// is expected"))?;
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = base.find('/').map_or((base, ""), |at| base.split_at(at));
        let (login, hosts) =
            authority.split_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        if hosts.contains('@') || path.contains('@') || !hosts.split(',').all(is_host) {
            return Err(wrong(
                "postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE is expected, with other characters than letters \
                 and digits in the password as %40 and the like",
            ));
        }
        let (mut kept, mut shown) = (Vec::new(), Vec::new());
        let pooled = OnceLock::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = name(parameter);
            if name == POOLER {
                let given = match parameter.split_once('=') {
                    Some((_, "true")) => true,
                    Some((_, "false")) => false,
                    _ => return Err(wrong("pgbouncer is true or false")),
                };
                let _ = pooled.set(given);
                shown.push(parameter.to_owned());
                continue;
            }
            kept.push(parameter.to_owned());
            let is_secret = name.contains("password") || name.contains("secret");
            shown.push(if is_secret { format!("{name}=***") } else { parameter.to_owned() });
        }
        for (default, value) in DEFAULTS {
            if !kept.iter().any(|parameter| name(parameter) == default) {
                kept.push(format!("{default}={value}"));
            }
        }
        let login = login.map(|login| match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@"),
            None => format!("{login}@"),
        });
        let shown_query = if shown.is_empty() { String::new() } else { format!("?{}", shown.join("&")) };
        let shown = format!("{scheme}://{}{hosts}{path}{shown_query}", login.unwrap_or_default());
        Ok(Address {
            url: format!("{scheme}://{base}?{}", kept.join("&")).into(),
            shown: shown.into(),
            pooled: Arc::new(pooled),
        })
    }

    /// What libpq is given. It has the password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The same with a setting of our own that the server is sent while connecting.
    fn with_mark(&self) -> String {
        const MARK: &str = "-c%20tidings.direct%3Don";
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (own, others): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|parameter| name(parameter) == "options");
        let own = own.last().and_then(|own| own.split_once('=')).map_or("", |(_, value)| value);
        format!("{base}?{}&options={own}%20{MARK}", others.join("&"))
    }

    /// Whether connections lead through a pooler, where one transaction knows nothing of the one before: then a setting
    /// that is sent while connecting is refused, or doesn't arrive. A pooler that gives a connection to one client for as
    /// long as that one wants is taken for one too, which costs a little and breaks nothing.
    ///
    /// # Errors
    /// When the server can't be reached and has never been.
    pub(super) fn is_pooled(&self) -> Result<bool> {
        #[derive(QueryableByName)]
        struct Mark {
            #[diesel(sql_type = Nullable<Text>)]
            mark: Option<String>,
        }
        if let Some(known) = self.pooled.get() {
            return Ok(*known);
        }
        let pooled = match Conn::establish(&self.with_mark()) {
            Ok(mut conn) => {
                let query = diesel::sql_query("SELECT current_setting('tidings.direct', true) AS mark");
                query.get_result::<Mark>(&mut conn)?.mark.is_none()
            }
            Err(_) => {
                Conn::establish(&self.url).map_err(StoreError::Connect)?;
                true
            }
        };
        if pooled {
            tracing::info!(database = %self, "a connection pooler is in between: no statement is prepared ahead");
        }
        Ok(*self.pooled.get_or_init(|| pooled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn several_hosts_are_one_address() {
        let address = parse("postgres://u:s3cret@h1:5432,[::1]:5433,h3/db?target_session_attrs=read-write");
        assert!(
            address.url().starts_with(
                "postgres://u:s3cret@h1:5432,[::1]:5433,h3/db?target_session_attrs=read-write&connect_timeout=5&"
            ),
            "{}",
            address.url()
        );
        let shown = "postgres://u:***@h1:5432,[::1]:5433,h3/db?target_session_attrs=read-write";
        assert_eq!(address.to_string(), shown);
        for url in
            ["postgres:///db?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/db", "postgres://u@/db"]
        {
            assert_eq!(parse(url).to_string(), url);
        }
    }

    #[test]
    fn what_the_url_says_itself_stays_as_it_is() {
        let address = parse("postgres://h/db?connect_timeout=60&options=-c%20work_mem%3D8MB");
        let url = address.url();
        assert!(url.starts_with("postgres://h/db?connect_timeout=60&options=-c%20work_mem%3D8MB&"), "{url}");
        assert_eq!(url.matches("connect_timeout").count(), 1);
        assert!(
            address.with_mark().ends_with("&options=-c%20work_mem%3D8MB%20-c%20tidings.direct%3Don"),
            "{}",
            address.with_mark()
        );
    }

    #[test]
    fn the_pooler_is_told_to_us_and_not_to_libpq() {
        for (url, expected) in [
            ("postgres://h/db?pgbouncer=true&sslmode=require", Some(true)),
            ("postgres://h/db?sslmode=require&pgbouncer=false", Some(false)),
            ("postgres://h/db?sslmode=require", None),
        ] {
            let address = parse(url);
            assert_eq!(address.pooled.get().copied(), expected, "{url}");
            assert!(
                !address.url().contains("pgbouncer") && address.url().contains("sslmode=require"),
                "{url}"
            );
        }
        assert!(Address::parse("postgres://h/db?pgbouncer=yes").is_err());
    }

    #[test]
    fn what_can_t_be_a_url_is_refused_without_being_repeated() {
        for url in [
            "postgres://u:s3cret@word@h/db",
            "postgres://u:s3cret/word@h/db",
            "postgres://u:s3cret",
            "postgres://h:5432,h:s3cret/db",
            "postgres://[s3cret",
            "postgres:s3cret",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was taken")).to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://u:s3cret@h/db?sslmode=require",
            "postgres://u:s3cret@a,b/db",
            "postgres://u:s3%40:cret@h/db",
            "postgres://h/db?password=s3cret",
            "postgres://h/db?sslmode=require&%70assword=s3cret&sslpassword=s3cret",
        ] {
            let address = parse(url);
            let shown = format!("{address} {address:?}");
            assert!(!shown.contains("cret"), "{shown}");
            assert!(shown.contains("***") && address.url().contains("cret"), "{shown}");
        }
    }
}
