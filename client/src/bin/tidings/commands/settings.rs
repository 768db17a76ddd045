//! `tidings settings`: the tenant's settings by their names, such as `push.retry.kind`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::post::read;
use super::{Context, Outcome};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Mood, Out, Shown, pairs};

/// What to do with them.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the settings in force, and the health of the push
    Get(Get),
    /// Change settings
    Set(Set),
    /// Send a test push now, and show what came back
    Test,
}

/// The arguments of `get`.
#[derive(Args)]
pub(crate) struct Get {
    /// Only this one, or what is below it: push.retry; health is that of the push
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// The arguments of `set`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tidings settings set push.url=https://archive.example.com/hook push.autoDismiss=true
  tidings settings set push.retry.kind=fixed push.retry.everySeconds=60
  tidings settings set 'selection.types=[\"close\",\"print\"]' push.rateLimit=null
  tidings settings set push.signing.secret=@secret.txt

A value is JSON where it can be read as JSON, and text otherwise; '\"5\"' is text. null puts a
setting back to its default. @FILE and @- (the standard input) take the value from there: a JSON
object or array, or else text, such as a secret, that then stands in no list of processes.
A setting whose own names contain dots is set as a whole:
  tidings settings set 'payload.fields={\"my.own.type\":[\"amount\"]}'")]
pub(crate) struct Set {
    /// Settings and their values
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

pub(crate) async fn run(context: &Context, command: Command) -> Outcome {
    let lists = matches!(context.out.format, Format::Csv | Format::Ids);
    if lists && !matches!(command, Command::Test) {
        return Err(Failure::usage("settings are printed as table or json"));
    }
    match command {
        Command::Get(arguments) => get(context, arguments).await,
        Command::Set(arguments) => set(context, arguments).await,
        Command::Test => test(context).await,
    }
}

async fn get(context: &Context, arguments: Get) -> Outcome {
    let document = context.client()?.settings().await?;
    let mut all = to_json(&document.data.attributes)?;
    let health = to_json(&document.data.meta)?;
    let Some(name) = arguments.name else {
        if !context.out.is_table() {
            return print(&context.out, "", &all);
        }
        show(&context.out, "", &all)?;
        context.out.line("")?;
        show(&context.out, "health", &health)?;
        return Ok(Exit::Done);
    };
    all["health"] = health;
    let found = find(&all, &name).ok_or_else(|| {
        Failure::new(format!("there is no setting {name:?}; secrets are never shown"))
            .hint("`tidings settings get` lists them all.")
            .exit(Exit::Nothing)
    })?;
    print(&context.out, &name, found)
}

/// Prints a setting, or several.
fn print(out: &Out, name: &str, value: &Value) -> Outcome {
    match (out.format, value) {
        (Format::Json | Format::Ndjson, _) => out.json(value)?,
        (_, Value::Object(members)) if !members.is_empty() => show(out, name, value)?,
        // Alone it is a value for scripts.
        (_, Value::String(text)) => out.line(text)?,
        _ => out.line(&value.to_string())?,
    }
    Ok(Exit::Done)
}

fn show(out: &Out, name: &str, value: &Value) -> Result<(), Failure> {
    pairs(out, flat(name, value))
}

/// A value as names and values, one for each that is no object.
fn flat(name: &str, value: &Value) -> Vec<(String, Shown)> {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let below = |(member, value): (&String, &Value)| {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flat(&name, value)
            };
            members.iter().flat_map(below).collect()
        }
        Value::Null => vec![(name.to_owned(), Mood::Faint.of("null"))],
        Value::String(text) => vec![(name.to_owned(), Mood::Plain.of(text))],
        other => vec![(name.to_owned(), Mood::Plain.of(other.to_string()))],
    }
}

fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(value, |value, member| value.get(member))
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::new(error.to_string()))
}

async fn set(context: &Context, arguments: Set) -> Outcome {
    let patch = patch(&arguments.settings, read)?;
    let document = context.client()?.patch_settings(&patch).await?;
    let all = to_json(&document.data.attributes)?;
    if !context.out.is_table() {
        return print(&context.out, "", &all);
    }
    // What was asked for as it is in force now; a secret is written and never read.
    let mut rows = Vec::new();
    for setting in &arguments.settings {
        let name = setting.split_once('=').map_or(setting.as_str(), |(name, _)| name);
        match find(&all, name) {
            Some(value) => rows.extend(flat(name, value)),
            None => rows.push((name.to_owned(), Mood::Faint.of("(set)"))),
        }
    }
    pairs(&context.out, rows)?;
    Ok(Exit::Done)
}

/// Several `name=value` as one merge patch.
fn patch(settings: &[String], read: impl Fn(&str) -> Result<String, Failure>) -> Result<Value, Failure> {
    let mut patch = Map::new();
    for setting in settings {
        let (name, text) = setting.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{setting:?} sets nothing"))
                .hint("A setting and its value are expected: push.enabled=true")
        })?;
        let value = match text.strip_prefix('@') {
            Some(file) => from_file(&read(file)?),
            None => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        put(&mut patch, name, value)?;
    }
    Ok(Value::Object(patch))
}

/// The value in a file: JSON only if it is an object or an array, so that a secret of digits stays text.
fn from_file(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text.trim_end_matches(['\n', '\r']).to_owned()),
    }
}

fn put(patch: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), Failure> {
    let (path, last) = name.rsplit_once('.').map_or((None, name), |(path, last)| (Some(path), last));
    let members = path.into_iter().flat_map(|path| path.split('.'));
    if name.split('.').any(str::is_empty) {
        return Err(Failure::usage(format!("{name:?} is no name of a setting")));
    }
    let twice = || Failure::usage(format!("{name} is set twice"));
    let mut place = patch;
    for member in members {
        let below = place.entry(member).or_insert_with(|| Value::Object(Map::new()));
        place = below.as_object_mut().ok_or_else(twice)?;
    }
    match place.insert(last.to_owned(), value) {
        Some(_) => Err(twice()),
        None => Ok(()),
    }
}

async fn test(context: &Context) -> Outcome {
    let attempt = context.client()?.test_push().await?;
    let delivered = attempt.data.attributes.error.is_none();
    super::deliveries::show_attempts(&context.out, [attempt.data])?;
    if !delivered {
        context.out.note("the test was not taken; nothing of it is stored");
    }
    Ok(if delivered { Exit::Done } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch_of(settings: &[&str]) -> Result<Value, Failure> {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        patch(&settings, |file| match file {
            "secret" => Ok("123456\n".to_owned()),
            "fields" => Ok("{\"a.b\": [\"c\"]}\n".to_owned()),
            other => Err(Failure::usage(other)),
        })
    }

    #[test]
    fn dotted_names_become_one_patch() {
        assert_eq!(
            patch_of(&[
                "push.url=https://a.example/?x=1",
                "push.retry.kind=fixed",
                "push.retry.attempts=3",
                "enabled=true"
            ])
            .unwrap(),
            json!({"enabled": true, "push": {"url": "https://a.example/?x=1", "retry": {"kind": "fixed", "attempts": 3}}})
        );
        assert_eq!(
            patch_of(&[
                "push.rateLimit=null",
                "selection.types=[\"close\"]",
                "push.clientId=\"5\"",
                "push.userAgent="
            ])
            .unwrap(),
            json!({"push": {"rateLimit": null, "clientId": "5", "userAgent": ""}, "selection": {"types": ["close"]}})
        );
    }

    #[test]
    fn a_value_from_a_file_is_text_or_an_object() {
        assert_eq!(
            patch_of(&["push.signing.secret=@secret", "payload.fields=@fields"]).unwrap(),
            json!({"push": {"signing": {"secret": "123456"}}, "payload": {"fields": {"a.b": ["c"]}}})
        );
        assert!(patch_of(&["push.signing.secret=@nothing"]).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for wrong in [
            &["push"][..],
            &["=1"],
            &["push..url=1"],
            &[".push=1"],
            &["push.url=a", "push.url=b"],
            &["push=null", "push.url=b"],
            &["push.url=b", "push=null"],
        ] {
            assert_eq!(patch_of(wrong).unwrap_err().exit, Exit::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn settings_are_shown_by_their_full_names() {
        let all = json!({"push": {"url": null, "retry": {"kind": "none"}}, "payload": {"fields": {}}});
        let shown: Vec<(String, String)> =
            flat("", &all).into_iter().map(|(name, shown)| (name, shown.text)).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected =
            [pair("payload.fields", "{}"), pair("push.retry.kind", "none"), pair("push.url", "null")];
        assert_eq!(shown, expected);
        assert_eq!(find(&all, "push.retry.kind"), Some(&json!("none")));
        assert_eq!(find(&all, "push.nothing"), None);
    }
}
