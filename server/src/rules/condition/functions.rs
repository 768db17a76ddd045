//! The operators and functions of an expression, and what can be said of them before it runs.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use cel::common::ast::operators;
use chrono::{DateTime, Datelike as _, FixedOffset, TimeDelta, Timelike as _, Utc};

use super::Pattern;
use super::run::{Outcome, Run, failed};
use super::value::Value;

/// The functions, and how many values each takes at least and at most; what stands before the dot is one of them.
const FUNCTIONS: [(&str, usize, usize); 23] = [
    ("size", 1, 1),
    ("contains", 2, 2),
    ("startsWith", 2, 2),
    ("endsWith", 2, 2),
    ("matches", 2, 2),
    ("bool", 1, 1),
    ("int", 1, 1),
    ("uint", 1, 1),
    ("double", 1, 1),
    ("string", 1, 1),
    ("timestamp", 1, 1),
    ("duration", 1, 1),
    ("dyn", 1, 1),
    ("getFullYear", 1, 2),
    ("getMonth", 1, 2),
    ("getDate", 1, 2),
    ("getDayOfMonth", 1, 2),
    ("getDayOfWeek", 1, 2),
    ("getDayOfYear", 1, 2),
    ("getHours", 1, 2),
    ("getMinutes", 1, 2),
    ("getSeconds", 1, 2),
    ("getMilliseconds", 1, 2),
];

/// Whether a call of a function can be right; if not, why.
pub(super) fn check(name: &str, values: usize) -> Result<(), String> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        // An operator: the parser has counted.
        return Ok(());
    }
    let Some((_, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        return Err(format!(
            "there is no function `{name}`; there are {}, and the macros has, all, exists, exists_one, map and filter",
            known.join(", ")
        ));
    };
    if (*least..=*most).contains(&values) {
        Ok(())
    } else {
        Err(format!("`{name}` is not called with {values} values"))
    }
}

/// A time zone: `UTC`, or hours and minutes from it such as `+02:00`.
pub(super) fn zone(text: &str) -> Option<FixedOffset> {
    if text == "UTC" {
        return FixedOffset::east_opt(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => (1, text),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let part = |digits: &str, below: i32| {
        let number = digits.parse::<i32>().ok().filter(|number| (0..below).contains(number));
        number.filter(|_| digits.len() == 2)
    };
    FixedOffset::east_opt(sign * (part(hours, 24)? * 3600 + part(minutes, 60)? * 60))
}

impl<'a> Run<'a> {
    /// The value of an operator or a function.
    pub(super) fn apply(&mut self, id: u64, name: &str, values: &[Value<'a>]) -> Outcome<'a> {
        let ordered = |a: &Value<'a>, b: &Value<'a>, holds: fn(Ordering) -> bool| match a.compare(b) {
            Some(order) => Ok(Value::Bool(holds(order))),
            // Nothing is larger or smaller than what is no number.
            None if a.double().is_some() && b.double().is_some() => Ok(Value::Bool(false)),
            None => mismatch(name, values),
        };
        match (name, values) {
            (operators::EQUALS, [a, b]) => self.equal(a, b).map(Value::Bool),
            (operators::NOT_EQUALS, [a, b]) => self.equal(a, b).map(|equal| Value::Bool(!equal)),
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [a, b],
            ) => {
                if let (Value::Text(a), Value::Text(b)) = (a, b) {
                    self.pay_bytes(a.len().min(b.len()))?;
                }
                match name {
                    operators::LESS => ordered(a, b, Ordering::is_lt),
                    operators::LESS_EQUALS => ordered(a, b, Ordering::is_le),
                    operators::GREATER => ordered(a, b, Ordering::is_gt),
                    _ => ordered(a, b, Ordering::is_ge),
                }
            }
            (operators::LOGICAL_NOT, [Value::Bool(value)]) => Ok(Value::Bool(!value)),
            (operators::IN, [value, container]) => {
                if container.kind() == "map" {
                    return self.member(container, value).map(|found| Value::Bool(found.is_some()));
                }
                let list = self.list(container)?;
                for element in list.iter() {
                    if self.equal(element, value)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (operators::INDEX, [from, key]) => match self.member(from, key)? {
                Some(value) => Ok(value),
                None => failed("there is nothing at this index"),
            },
            (operators::ADD, [Value::Text(a), Value::Text(b)]) => {
                self.pay_bytes(a.len() + b.len())?;
                Ok(Value::Text(Cow::Owned(format!("{a}{b}"))))
            }
            (operators::ADD, [a, b]) if a.kind() == "list" && b.kind() == "list" => {
                let (a, b) = (self.list(a)?, self.list(b)?);
                let all = a.iter().chain(b.iter());
                self.pay_bytes(all.clone().map(Value::weight).sum())?;
                Ok(Value::List(Rc::new(all.cloned().collect())))
            }
            (operators::NEGATE, [Value::Duration(length)]) => Ok(Value::Duration(-*length)),
            (operators::NEGATE, [value]) => arithmetic(operators::SUBSTRACT, &Value::Int(0), value),
            (operators::ADD | operators::SUBSTRACT, [Value::Time(time), Value::Duration(length)]) => {
                let moved = match name {
                    operators::ADD => time.checked_add_signed(*length),
                    _ => time.checked_sub_signed(*length),
                };
                moved.map_or_else(|| mismatch(name, values), |time| Ok(Value::Time(time)))
            }
            (operators::ADD, [length @ Value::Duration(_), time @ Value::Time(_)]) => {
                self.apply(id, name, &[time.clone(), length.clone()])
            }
            (operators::SUBSTRACT, [Value::Time(a), Value::Time(b)]) => Ok(Value::Duration(*a - *b)),
            (operators::ADD | operators::SUBSTRACT, [Value::Duration(a), Value::Duration(b)]) => {
                let sum = match name {
                    operators::ADD => a.checked_add(b),
                    _ => a.checked_sub(b),
                };
                sum.map_or_else(|| mismatch(name, values), |length| Ok(Value::Duration(length)))
            }
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [a, b],
            ) => arithmetic(name, a, b),
            ("size", [Value::Text(text)]) => {
                self.pay_bytes(text.len())?;
                Ok(count(text.chars().count()))
            }
            ("size", [value]) if value.kind() == "map" => Ok(count(self.map(value)?.len())),
            ("size", [value]) => Ok(count(self.list(value)?.len())),
            ("contains", [Value::Text(text), Value::Text(part)]) => {
                self.pay_bytes(text.len() + part.len())?;
                Ok(Value::Bool(text.contains(part.as_ref())))
            }
            ("startsWith", [Value::Text(text), Value::Text(part)]) => {
                self.pay_bytes(part.len())?;
                Ok(Value::Bool(text.starts_with(part.as_ref())))
            }
            ("endsWith", [Value::Text(text), Value::Text(part)]) => {
                self.pay_bytes(part.len())?;
                Ok(Value::Bool(text.ends_with(part.as_ref())))
            }
            ("matches", [Value::Text(text), Value::Text(_)]) => match self.program.patterns.get(&id) {
                Some(pattern) => {
                    self.pay(Pattern::steps(text.len()))?;
                    Ok(Value::Bool(pattern.matches(text)))
                }
                None => failed("the pattern is not known"),
            },
            ("dyn", [value]) => Ok(value.clone()),
            (_, [Value::Time(time), zones @ ..]) if name.starts_with("get") => {
                part_of_time(name, *time, zones)
            }
            (_, [Value::Duration(length)]) if name.starts_with("get") => part_of_duration(name, *length),
            (_, [value]) => {
                if let Value::Text(text) = value {
                    self.pay_bytes(text.len())?;
                }
                converted(name, value).map_or_else(|| mismatch(name, values), Ok)
            }
            _ => mismatch(name, values),
        }
    }
}

fn mismatch<'a>(name: &str, values: &[Value<'a>]) -> Outcome<'a> {
    let kinds: Vec<&str> = values.iter().map(Value::kind).collect();
    failed(format!("`{name}` has no value for {}", kinds.join(" and ")))
}

fn count<'a>(number: usize) -> Value<'a> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Unlike CEL's, this mixes kinds of numbers: whether 10 or 10.5 comes in JSON is not for the sender to choose.
fn arithmetic<'a>(operator: &str, a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    let values = || mismatch(operator, &[a.clone(), b.clone()]);
    if let (Some(x), Some(y)) = (a.whole(), b.whole()) {
        let number = match operator {
            operators::ADD => x.checked_add(y),
            operators::SUBSTRACT => x.checked_sub(y),
            operators::MULTIPLY => x.checked_mul(y),
            operators::DIVIDE => x.checked_div(y),
            _ => x.checked_rem(y),
        };
        let unsigned = matches!((a, b), (Value::Uint(_), Value::Uint(_)));
        let number = number.and_then(|number| match unsigned {
            true => u64::try_from(number).ok().map(Value::Uint),
            false => i64::try_from(number).ok().map(Value::Int),
        });
        return number.map_or_else(values, Ok);
    }
    let (Some(x), Some(y)) = (a.double(), b.double()) else { return values() };
    Ok(Value::Double(match operator {
        operators::ADD => x + y,
        operators::SUBSTRACT => x - y,
        operators::MULTIPLY => x * y,
        operators::DIVIDE => x / y,
        _ => return values(),
    }))
}

fn part_of_time<'a>(name: &str, time: DateTime<Utc>, zones: &[Value<'a>]) -> Outcome<'a> {
    let offset = match zones {
        [] => zone("UTC"),
        [Value::Text(text)] => zone(text),
        _ => None,
    };
    let Some(offset) = offset else { return failed("`UTC` or a zone such as `+02:00` is expected") };
    let time = time.with_timezone(&offset);
    let number = match name {
        "getFullYear" => return Ok(Value::Int(i64::from(time.year()))),
        "getMonth" => time.month0(),
        "getDate" => time.day(),
        "getDayOfMonth" => time.day0(),
        "getDayOfWeek" => time.weekday().num_days_from_sunday(),
        "getDayOfYear" => time.ordinal0(),
        "getHours" => time.hour(),
        "getMinutes" => time.minute(),
        "getSeconds" => time.second(),
        _ => time.timestamp_subsec_millis(),
    };
    Ok(Value::Int(i64::from(number)))
}

fn part_of_duration<'a>(name: &str, length: TimeDelta) -> Outcome<'a> {
    Ok(Value::Int(match name {
        "getHours" => length.num_hours(),
        "getMinutes" => length.num_minutes(),
        "getSeconds" => length.num_seconds(),
        "getMilliseconds" => length.num_milliseconds() % 1000,
        _ => return mismatch(name, &[Value::Duration(length)]),
    }))
}

/// A value as another type; none where it can't be that.
#[expect(clippy::cast_possible_truncation, reason = "the range was looked at before")]
fn converted<'a>(to: &str, value: &Value<'a>) -> Option<Value<'a>> {
    const BEYOND: f64 = 1e20;
    let whole = match value {
        Value::Double(number) if number.abs() < BEYOND => Some(number.trunc() as i128),
        Value::Text(text) => text.parse().ok(),
        Value::Time(time) => Some(i128::from(time.timestamp())),
        value => value.whole(),
    };
    Some(match (to, value) {
        ("int", _) => Value::Int(i64::try_from(whole?).ok()?),
        ("uint", _) => Value::Uint(u64::try_from(whole?).ok()?),
        ("double", Value::Text(text)) => Value::Double(text.parse().ok()?),
        ("double", number) => Value::Double(number.double()?),
        ("bool", Value::Bool(value)) => Value::Bool(*value),
        ("bool", Value::Text(text)) => Value::Bool(text.parse().ok()?),
        ("timestamp", Value::Time(time)) => Value::Time(*time),
        ("timestamp", Value::Int(seconds)) => Value::Time(DateTime::from_timestamp(*seconds, 0)?),
        ("timestamp", Value::Text(text)) => Value::Time(DateTime::parse_from_rfc3339(text).ok()?.to_utc()),
        ("duration", Value::Duration(length)) => Value::Duration(*length),
        ("duration", Value::Text(text)) => Value::Duration(duration(text)?),
        ("string", Value::Text(text)) => Value::Text(text.clone()),
        ("string", Value::Bool(value)) => Value::Text(Cow::Owned(value.to_string())),
        ("string", Value::Double(number)) => Value::Text(Cow::Owned(number.to_string())),
        ("string", Value::Time(time)) => Value::Text(Cow::Owned(tidings_api::time::format(time))),
        ("string", Value::Duration(length)) => {
            Value::Text(Cow::Owned(format!("{}s", length.as_seconds_f64())))
        }
        ("string", number) => Value::Text(Cow::Owned(number.whole()?.to_string())),
        _ => return None,
    })
}

/// A length of time as CEL writes it: `1h30m`, `1.5h`, `-10s`, `250ms`.
fn duration(text: &str) -> Option<TimeDelta> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    (!text.is_empty()).then_some(())?;
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|length| TimeDelta::from_std(length).ok())
        .map(|length| if sign < 0.0 { -length } else { length })
}
