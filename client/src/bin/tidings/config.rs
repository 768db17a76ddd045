//! Which server and which key: from the command line, the environment, and the profiles of the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidings_client::Client;

use crate::failure::Failure;

/// Where a server started by hand listens.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile that is used unless another is asked for.
    profile: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One profile of the file.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Profile {
    url: Option<String>,
    key: Option<String>,
    key_file: Option<PathBuf>,
}

/// What the command line says.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) url: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) config: Option<PathBuf>,
}

/// A value, and where it comes from.
#[derive(Clone)]
pub(crate) struct Sourced {
    pub(crate) value: String,
    pub(crate) source: String,
}

/// The server and the key that are used.
pub(crate) struct Connection {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The file that would be read.
    place: Option<PathBuf>,
    pub(crate) profile: Option<String>,
    pub(crate) url: Sourced,
    pub(crate) key: Option<Sourced>,
    /// What the user should know about the file.
    pub(crate) warning: Option<String>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("url", &self.url.value).finish_non_exhaustive()
    }
}

impl Connection {
    /// Finds them. A profile named on the command line goes before the environment, any other after it.
    pub(crate) fn find(given: Given, env: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let place = given.config.clone().or_else(|| env("TIDINGS_CONFIG").map(PathBuf::from));
        let asked = place.is_some();
        let place = place.or_else(|| default_place(&env));
        let found = place.as_deref().map_or(Ok(None), |path| read(path, asked))?;
        let there = found.is_some();
        let file = found.unwrap_or_default();
        let by_flag = given.profile.is_some();
        let named = given.profile.or_else(|| env("TIDINGS_PROFILE"));
        let must_exist = named.is_some() || file.profile.is_some();
        let name = named.or(file.profile).unwrap_or_else(|| "default".to_owned());
        let profile = match (file.profiles.get(&name), must_exist) {
            (Some(profile), _) => Some(profile.clone()),
            (None, false) => None,
            (None, true) => {
                let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
                let place = place.as_deref().map_or("no file".into(), |path| path.display().to_string());
                let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Failure::usage(format!("there is no profile {name:?}"))
                    .hint(format!("In {place} there are: {there}.")));
            }
        };
        let from_profile = format!("profile {name:?}");
        let pick = |flag: Option<String>, variable: &str, kept: Option<String>| {
            let flag = flag.map(|value| Sourced { value, source: "the command line".to_owned() });
            let variable = env(variable).map(|value| Sourced { value, source: variable.to_owned() });
            let kept = kept.map(|value| Sourced { value, source: from_profile.clone() });
            if by_flag { flag.or(kept).or(variable) } else { flag.or(variable).or(kept) }
        };
        let warning = match (&profile, &place) {
            (Some(Profile { key: Some(_), .. }), Some(path)) => exposed(path),
            _ => None,
        };
        let used = profile.is_some().then_some(name);
        let Profile { url, key, key_file } = profile.unwrap_or_default();
        let key = match (key, key_file) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(format!("{from_profile} has both key and key-file")));
            }
            (None, Some(path)) => Some(key_in(&path, place.as_deref())?),
            (key, None) => key,
        };
        let url = pick(given.url, "TIDINGS_URL", url);
        let default = Sourced { value: DEFAULT_URL.to_owned(), source: "the default".to_owned() };
        Ok(Connection {
            file: place.clone().filter(|_| there),
            place,
            profile: used,
            url: url.unwrap_or(default),
            key: pick(given.key, "TIDINGS_KEY", key),
            warning,
        })
    }

    /// The client for them.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let key = self.key.as_ref().ok_or_else(|| {
            let place =
                self.place.as_ref().map_or("a --config file".to_owned(), |path| path.display().to_string());
            Failure::usage("a key is needed").hint(format!(
                "Give it with --key or TIDINGS_KEY, or keep it in {place}:\n  \
                 [profiles.default]\n  url = \"https://tidings.example.com\"\n  key = \"tidings_consumer_…\"",
            ))
        })?;
        let builder = Client::builder(&self.url.value).key(&key.value);
        builder.build().map_err(|error| Failure { exit: crate::failure::Exit::Usage, ..error.into() })
    }
}

fn default_place(env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let base = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(env("HOME")?).join(".config")))?;
    Some(base.join("tidings").join("config.toml"))
}

/// Reads the file. One that nobody asked for need not be there.
fn read(path: &Path, asked: bool) -> Result<Option<File>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !asked => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("{} can't be read: {error}", path.display()))),
    };
    // Only the message: the text around it may be a key.
    toml::from_str(&text).map(Some).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::usage(format!("{}, line {line}: {}", path.display(), error.message()))
    })
}

/// The key in a file of its own; a relative path begins at the configuration file.
fn key_in(path: &Path, config: Option<&Path>) -> Result<String, Failure> {
    let path = config.and_then(Path::parent).map_or_else(|| path.to_owned(), |base| base.join(path));
    let key = fs::read_to_string(&path)
        .map_err(|error| Failure::usage(format!("the key file {} can't be read: {error}", path.display())))?;
    Ok(key.trim().to_owned())
}

/// Whether others on this machine can read a file with a key in it.
#[cfg(unix)]
fn exposed(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(path).ok()?.permissions().mode();
    let place = path.display();
    (mode & 0o077 != 0).then(|| format!("others can read the keys in {place}: chmod 600 {place}"))
}

#[cfg(not(unix))]
fn exposed(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        profile = "work"
        [profiles.work]
        url = "https://work.example"
        key = "work-key"
        [profiles.home]
        url = "https://home.example"
        key-file = "home.key"
    "#;

    fn find(given: Given, env: &[(&str, &str)]) -> Result<Connection, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        fs::write(&config, FILE).unwrap();
        fs::write(folder.path().join("home.key"), "home-key\n").unwrap();
        let given = Given { config: Some(config), ..given };
        Connection::find(given, |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn both(connection: &Connection) -> (&str, &str) {
        (&connection.url.value, connection.key.as_ref().map_or("", |key| &key.value))
    }

    fn profile(name: &str) -> Given {
        Given { profile: Some(name.to_owned()), ..Given::default() }
    }

    #[test]
    fn the_nearest_word_counts() {
        let env = [("TIDINGS_URL", "https://env.example"), ("TIDINGS_KEY", "env-key")];
        assert_eq!(both(&find(Given::default(), &[]).unwrap()), ("https://work.example", "work-key"));
        assert_eq!(both(&find(Given::default(), &env).unwrap()), ("https://env.example", "env-key"));
        assert_eq!(both(&find(profile("home"), &env).unwrap()), ("https://home.example", "home-key"));
        let flagged = Given { url: Some("https://flag.example".to_owned()), ..profile("home") };
        assert_eq!(both(&find(flagged, &env).unwrap()), ("https://flag.example", "home-key"));
        let named = find(Given::default(), &[("TIDINGS_PROFILE", "home")]).unwrap();
        assert_eq!(both(&named), ("https://home.example", "home-key"));
        assert_eq!(named.profile.as_deref(), Some("home"));
    }

    #[test]
    fn an_unknown_profile_is_refused_with_those_there_are() {
        let failure = find(profile("nowhere"), &[]).unwrap_err();
        assert!(failure.hint.unwrap().contains("home, work"));
    }

    #[test]
    fn without_a_file_there_is_the_default_server() {
        let nothing = Connection::find(Given::default(), |_| None).unwrap();
        assert_eq!(both(&nothing), (DEFAULT_URL, ""));
        assert_eq!(nothing.client().unwrap_err().exit, crate::failure::Exit::Usage);
        let missing = Given { config: Some("/nowhere/config.toml".into()), ..Given::default() };
        assert!(Connection::find(missing, |_| None).is_err());
    }

    #[test]
    fn a_broken_file_is_refused_without_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        fs::write(&config, "[profiles.work]\nkee = \"hush\"\n").unwrap();
        let failure =
            Connection::find(Given { config: Some(config), ..Given::default() }, |_| None).unwrap_err();
        assert!(failure.message.contains("line 2") && failure.message.contains("kee"), "{}", failure.message);
        assert!(!failure.message.contains("hush"), "{}", failure.message);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        fs::write(&config, FILE).unwrap();
        let warning = |mode| {
            fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
            let given = Given { config: Some(config.clone()), ..Given::default() };
            Connection::find(given, |_| None).unwrap().warning
        };
        assert!(warning(0o644).unwrap().contains("chmod 600"));
        assert_eq!(warning(0o600), None);
    }
}
