//! Running an expression over an event, step by step, until it has an answer or has used up its steps.

use std::borrow::Cow;
use std::rc::Rc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use chrono::DateTime;
use tidings_api::event::{Change, ChangeType, Originator};

use super::Program;
use super::value::Value;
use crate::rules::json;
use crate::rules::selection::EventView;

/// How many bytes are looked at in a step.
const BYTES: usize = 64;
/// The steps for which an element of a JSON array is read. It bounds the memory too.
const ELEMENT: usize = 4;
/// How deep values are compared.
const DEEPEST: usize = 64;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There were not enough steps.
    Exhausted,
    /// The values are not such that the expression has one.
    Failed(String),
}

pub(super) type Outcome<'a> = Result<Value<'a>, Trouble>;

pub(super) fn failed<T>(message: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Failed(message.into()))
}

/// One run of an expression.
pub(super) struct Run<'a> {
    pub(super) program: &'a Program,
    event: &'a EventView<'a>,
    /// The variables of the macros around, the innermost last. What a macro gathers may have failed so far.
    scope: Vec<(&'a str, Outcome<'a>)>,
    steps: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(program: &'a Program, event: &'a EventView<'a>, steps: usize) -> Run<'a> {
        Run { program, event, scope: Vec::new(), steps }
    }

    /// Uses up steps.
    pub(super) fn pay(&mut self, steps: usize) -> Result<(), Trouble> {
        self.steps = self.steps.checked_sub(steps).ok_or(Trouble::Exhausted)?;
        Ok(())
    }

    /// Uses up steps for looking at so many bytes.
    pub(super) fn pay_bytes(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.pay(1 + bytes / BYTES)
    }

    /// Pays for a value that was copied: a text may be long.
    fn copied(&mut self, value: Value<'a>) -> Outcome<'a> {
        if let Value::Text(Cow::Owned(text)) = &value {
            self.pay_bytes(text.len())?;
        }
        Ok(value)
    }

    /// The value of an expression.
    pub(super) fn value(&mut self, expression: &'a IdedExpr) -> Outcome<'a> {
        self.pay(1)?;
        match &expression.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Null => Value::Null,
                LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
                LiteralValue::Int(value) => Value::Int(*value.inner()),
                LiteralValue::UInt(value) => Value::Uint(*value.inner()),
                LiteralValue::Double(value) => Value::Double(*value.inner()),
                LiteralValue::String(value) => Value::text(Some(value.inner())),
                LiteralValue::Bytes(_) => return failed("bytes are not supported"),
            }),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let from = self.value(&select.operand)?;
                if select.test && matches!(from, Value::Null) {
                    return Ok(Value::Bool(false));
                }
                let found = self.member(&from, &Value::text(Some(&select.field)))?;
                match found {
                    found if select.test => Ok(Value::Bool(found.is_some())),
                    Some(value) => Ok(value),
                    None => failed(format!("there is no member {:?}", select.field)),
                }
            }
            Expr::List(list) => {
                let values = list.elements.iter().map(|element| self.value(element));
                Ok(Value::List(Rc::new(values.collect::<Result<_, _>>()?)))
            }
            Expr::Map(map) => {
                let mut members = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        members.push((self.value(&entry.key)?, self.value(&entry.value)?));
                    }
                }
                Ok(Value::Map(Rc::new(members)))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::Struct(_) | Expr::Unspecified => failed("messages are not supported"),
        }
    }

    /// A variable of a macro, or of the event.
    fn variable(&mut self, name: &str) -> Outcome<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            let value = value.clone()?;
            return self.copied(value);
        }
        let event = self.event;
        Ok(match name {
            "type" => Value::text(Some(event.event_type.as_str())),
            "createdAt" => match DateTime::from_timestamp_micros(event.created_at) {
                Some(time) => Value::Time(time),
                None => Value::Null,
            },
            "comment" => Value::text(event.comment),
            "data" => event.data.map_or(Value::Null, Value::Json),
            "change" => event.change.map_or(Value::Null, change),
            "originator" => event.originator.map_or(Value::Null, originator),
            "unit" => Value::text(event.unit),
            "entity" => Value::text(event.entity),
            "createdBy" => Value::text(event.created_by),
            _ => return failed(format!("there is no variable {name:?}")),
        })
    }

    /// What a list or map has under a key; none if it has nothing there.
    pub(super) fn member(&mut self, from: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, Trouble> {
        match (from, key) {
            (Value::Json(text), Value::Text(name)) if text.starts_with('{') => {
                self.pay_bytes(text.len())?;
                match json::member(text, name) {
                    Some(raw) => Value::read(raw).map_or_else(unreadable, |value| Ok(Some(value))),
                    None => Ok(None),
                }
            }
            (Value::Map(members), key) => {
                for (name, value) in members.iter() {
                    if self.equal(name, key)? {
                        return self.copied(value.clone()).map(Some);
                    }
                }
                Ok(None)
            }
            (list, index) if list.kind() == "list" => {
                let list = self.list(list)?;
                let index = index.whole().and_then(|index| usize::try_from(index).ok());
                let value = index.and_then(|index| list.get(index).cloned());
                value.map(|value| self.copied(value)).transpose()
            }
            (from, key) => failed(format!("a {} has no member by {}", from.kind(), key.kind())),
        }
    }

    /// The elements of a list.
    pub(super) fn list(&mut self, list: &Value<'a>) -> Result<Rc<Vec<Value<'a>>>, Trouble> {
        match list {
            Value::List(list) => Ok(list.clone()),
            Value::Json(text) if text.starts_with('[') => {
                self.pay_bytes(text.len())?;
                let raw = json::elements(text, self.steps / ELEMENT).ok_or(Trouble::Exhausted)?;
                self.pay(raw.len() * ELEMENT)?;
                match raw.into_iter().map(Value::read).collect() {
                    Some(elements) => Ok(Rc::new(elements)),
                    None => unreadable(),
                }
            }
            other => failed(format!("a {} is no list", other.kind())),
        }
    }

    /// The members of a map.
    pub(super) fn map(&mut self, map: &Value<'a>) -> Result<Rc<Vec<(Value<'a>, Value<'a>)>>, Trouble> {
        match map {
            Value::Map(map) => Ok(map.clone()),
            Value::Json(text) if text.starts_with('{') => {
                // Many small members take a lot more memory than their text: this keeps them few.
                self.pay(text.len())?;
                let members = json::members(text).into_iter();
                let read = members.map(|(name, raw)| Some((Value::Text(name), Value::read(raw)?)));
                match read.collect() {
                    Some(members) => Ok(Rc::new(members)),
                    None => unreadable(),
                }
            }
            other => failed(format!("a {} is no map", other.kind())),
        }
    }

    /// Whether two values are equal. Values of different kinds are not, but numbers are compared as numbers.
    pub(super) fn equal(&mut self, a: &Value<'a>, b: &Value<'a>) -> Result<bool, Trouble> {
        self.equal_within(a, b, DEEPEST)
    }

    fn equal_within(&mut self, a: &Value<'a>, b: &Value<'a>, depth: usize) -> Result<bool, Trouble> {
        let Some(below) = depth.checked_sub(1) else { return failed("the values are nested too deeply") };
        self.pay(1)?;
        match (a, b) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Text(a), Value::Text(b)) => {
                self.pay_bytes(a.len().min(b.len()))?;
                Ok(a == b)
            }
            (a, b) if a.kind() == "list" && b.kind() == "list" => {
                let (a, b) = (self.list(a)?, self.list(b)?);
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !self.equal_within(a, b, below)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (a, b) if a.kind() == "map" && b.kind() == "map" => {
                let (a, b) = (self.map(a)?, self.map(b)?);
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (key, value) in a.iter() {
                    let mut equal = false;
                    for (other, candidate) in b.iter() {
                        if self.equal_within(key, other, below)? {
                            equal = self.equal_within(value, candidate, below)?;
                            break;
                        }
                    }
                    if !equal {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (a, b) => Ok(a.compare(b).is_some_and(std::cmp::Ordering::is_eq)),
        }
    }

    fn call(&mut self, id: u64, call: &'a CallExpr) -> Outcome<'a> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => self.decide(a, b, false),
            (operators::LOGICAL_OR, [a, b]) => self.decide(a, b, true),
            (operators::CONDITIONAL, [test, yes, no]) => match self.value(test)? {
                Value::Bool(true) => self.value(yes),
                Value::Bool(false) => self.value(no),
                other => failed(format!("a {} decides nothing", other.kind())),
            },
            (operators::NOT_STRICTLY_FALSE, [test]) => match self.value(test) {
                Err(Trouble::Exhausted) => Err(Trouble::Exhausted),
                other => Ok(Value::Bool(!matches!(other, Ok(Value::Bool(false))))),
            },
            (name, arguments) => {
                let all = call.target.as_deref().into_iter().chain(arguments);
                let values = all.map(|argument| self.value(argument)).collect::<Result<Vec<_>, _>>()?;
                self.apply(id, name, &values)
            }
        }
    }

    /// `a && b` and `a || b`: if one of them alone decides, it doesn't matter that the other can't be told.
    fn decide(&mut self, a: &'a IdedExpr, b: &'a IdedExpr, decisive: bool) -> Outcome<'a> {
        let mut trouble = None;
        for side in [a, b] {
            match self.value(side) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(other) => {
                    trouble = Some(Trouble::Failed(format!("a {} is not true or false", other.kind())))
                }
                Err(Trouble::Exhausted) => return Err(Trouble::Exhausted),
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    /// A macro: `all`, `exists`, `exists_one`, `map` or `filter`, as the parser writes them out.
    fn comprehension(&mut self, it: &'a ComprehensionExpr) -> Outcome<'a> {
        let range = self.value(&it.iter_range)?;
        let range = if range.kind() == "map" {
            Rc::new(self.map(&range)?.iter().map(|(key, _)| key.clone()).collect())
        } else {
            self.list(&range)?
        };
        let outside = self.scope.len();
        let mut gathered = Ok(self.value(&it.accu_init)?);
        for element in range.iter() {
            self.scope.push((&it.accu_var, gathered));
            let goes_on = self.value(&it.loop_cond);
            gathered = self.scope.pop().map_or(Err(Trouble::Exhausted), |(_, gathered)| gathered);
            if !matches!(goes_on?, Value::Bool(true)) {
                break;
            }
            self.scope.push((&it.iter_var, Ok(element.clone())));
            gathered = self.gather(&it.accu_var, gathered, &it.loop_step);
            self.scope.truncate(outside);
            if matches!(gathered, Err(Trouble::Exhausted)) {
                break;
            }
        }
        self.scope.push((&it.accu_var, gathered));
        let result = self.value(&it.result);
        self.scope.truncate(outside);
        result
    }

    /// One step of a macro. What is added to a list is added in place: copying the list for each element would make a
    /// macro cost the square of its elements.
    fn gather(&mut self, name: &'a str, gathered: Outcome<'a>, step: &'a IdedExpr) -> Outcome<'a> {
        let is_gathered =
            |expression: &IdedExpr| matches!(&expression.expr, Expr::Ident(known) if known == name);
        match &step.expr {
            Expr::Ident(known) if known == name => return gathered,
            Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::CONDITIONAL, [test, yes, no]) => {
                    return match self.value(test)? {
                        Value::Bool(true) => self.gather(name, gathered, yes),
                        Value::Bool(false) => self.gather(name, gathered, no),
                        other => failed(format!("a {} decides nothing", other.kind())),
                    };
                }
                (operators::ADD, [left, IdedExpr { expr: Expr::List(added), .. }]) if is_gathered(left) => {
                    let Value::List(mut list) = gathered? else { return failed("a macro gathers a list") };
                    for element in &added.elements {
                        let value = self.value(element)?;
                        Rc::make_mut(&mut list).push(value);
                    }
                    return Ok(Value::List(list));
                }
                _ => {}
            },
            _ => {}
        }
        self.scope.push((name, gathered));
        let value = self.value(step);
        self.scope.pop();
        value
    }
}

fn unreadable<T>() -> Result<T, Trouble> {
    failed("a text in the event's data is no valid Unicode")
}

fn change<'a>(change: &'a Change) -> Value<'a> {
    let columns = change.columns.iter().map(|column| Value::text(Some(column))).collect();
    let kind = match change.r#type {
        ChangeType::Insert => "insert",
        ChangeType::Update => "update",
        ChangeType::Delete => "delete",
    };
    Value::map([
        ("table", Value::text(Some(&change.table))),
        ("type", Value::text(Some(kind))),
        ("columns", Value::List(Rc::new(columns))),
        ("recordId", Value::text(change.record_id.as_deref())),
    ])
}

fn originator<'a>(originator: &'a Originator) -> Value<'a> {
    Value::map([
        ("accountId", Value::text(originator.account_id.as_deref())),
        ("groupId", Value::text(originator.group_id.as_deref())),
        ("userId", Value::text(originator.user_id.as_deref())),
    ])
}
