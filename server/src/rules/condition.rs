//! A condition: a CEL expression over an event, checked when it is set and bounded when it runs.
//!
//! The expression is parsed by the crate `cel`, and run here, because an admin's expression meets events of any size: each
//! operation costs steps, by the bytes that it looks at, and a run ends when its steps are used up. So there is no
//! expression and no event with which a tenant could keep the server busy. What the expression can't be told for, because
//! a member is missing or the steps didn't suffice, is selected: better one too many than one lost.

mod functions;
mod run;
mod value;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use regex_automata::Input;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

use self::run::{Run, Trouble};
use self::value::Value;
use super::selection::EventView;

/// The longest expression, in characters.
const LONGEST: usize = 4096;
/// How deep parentheses, lists and calls may be nested.
const DEEPEST: u16 = 24;
/// How deep the parsed expression may be: `a + b + c` is one deeper than `a + b`.
const DEEPEST_TREE: usize = 120;
/// The stack of the thread that reads an expression. The parser takes up to 10 MB for the worst of 4,096 characters, more
/// than the server's threads have.
const STACK: usize = 64 << 20;
/// The steps of a run that may be made where it must not take long.
const QUICK: usize = 5_000;
/// The steps of a whole run over a small event.
const STEPS: usize = 50_000;
/// So many bytes of the event's data are worth another step.
const BYTES_A_STEP: usize = 2;

/// How large the patterns of an expression may be together once they are ready to run, in bytes.
const PATTERNS: usize = 1 << 20;
/// How many bytes of a text are matched in a step.
const BYTES_MATCHED: usize = 16;

/// What an expression sees.
const VARIABLES: [&str; 9] =
    ["type", "createdAt", "comment", "data", "change", "originator", "unit", "entity", "createdBy"];

/// Expressions that are in use: tenants are read again every few seconds, and seldom with another expression.
static KNOWN: LazyLock<Mutex<HashMap<String, Weak<Program>>>> = LazyLock::new(Mutex::default);

/// An expression that can be run.
#[derive(Clone)]
pub struct Condition(Arc<Program>);

struct Program {
    expression: IdedExpr,
    patterns: HashMap<u64, Pattern>,
}

/// The pattern of a call of `matches`: an automaton that looks at each byte once, whatever the pattern. One that would be
/// too large for that is refused.
struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    fn new(pattern: &str, most: usize) -> Result<Pattern, Box<dense::BuildError>> {
        let sizes = dense::Config::new().dfa_size_limit(Some(most)).determinize_size_limit(Some(PATTERNS));
        dense::Builder::new()
            .configure(sizes.start_kind(StartKind::Unanchored))
            .thompson(thompson::Config::new().nfa_size_limit(Some(PATTERNS)))
            .syntax(syntax::Config::new().nest_limit(50))
            .build(pattern)
            .map(Pattern)
            .map_err(Box::new)
    }

    /// What it costs to match a text of so many bytes.
    fn steps(bytes: usize) -> usize {
        1 + bytes / BYTES_MATCHED
    }

    fn matches(&self, text: &str) -> bool {
        let found = self.0.try_search_fwd(&Input::new(text).earliest(true));
        found.expect("it has no byte at which it gives up, and is searched as it was built").is_some()
    }
}

/// What an expression says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It selects it, or can't be told.
    Selected,
    /// It is not true.
    NotMet,
    /// It takes longer than was allowed.
    TakesLonger,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}

impl Condition {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(text: &str) -> Result<Condition, String> {
        if !(1..=LONGEST).contains(&text.chars().count()) {
            return Err(format!("1 to {LONGEST} characters are expected"));
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(text).and_then(Weak::upgrade) {
            return Ok(Condition(program));
        }
        drop(known);
        let program = Arc::new(Program::read(text)?);
        known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, program| program.strong_count() > 0);
        known.insert(text.to_owned(), Arc::downgrade(&program));
        Ok(Condition(program))
    }

    /// What it says of an event, if that doesn't take long: at most about a millisecond.
    pub fn quickly(&self, event: &EventView<'_>) -> Answer {
        self.run(event, QUICK).unwrap_or(Answer::TakesLonger)
    }

    /// Whether an event is selected. This may take some milliseconds, and some tenths of a second for an event of 10 MB.
    pub fn selects(&self, event: &EventView<'_>) -> bool {
        let steps = STEPS + event.data.map_or(0, |data| data.len() / BYTES_A_STEP);
        match self.run(event, steps) {
            Some(answer) => answer == Answer::Selected,
            None => {
                tracing::debug!("a condition takes too long for an event, which is selected");
                true
            }
        }
    }

    /// None: it has used up its steps.
    fn run(&self, event: &EventView<'_>, steps: usize) -> Option<Answer> {
        match Run::new(&self.0, event, steps).value(&self.0.expression) {
            Ok(Value::Bool(true)) => Some(Answer::Selected),
            Ok(Value::Bool(false)) => Some(Answer::NotMet),
            Err(Trouble::Exhausted) => None,
            Ok(other) => {
                tracing::debug!(
                    kind = other.kind(),
                    "a condition is neither true nor false; it selects the event"
                );
                Some(Answer::Selected)
            }
            Err(Trouble::Failed(reason)) => {
                tracing::debug!(reason, "a condition can't be told for an event, which is selected");
                Some(Answer::Selected)
            }
        }
    }
}

impl Program {
    /// Reads an expression on a thread of its own.
    fn read(text: &str) -> Result<Program, String> {
        let text = text.to_owned();
        let read = std::thread::Builder::new().stack_size(STACK).spawn(move || Program::new(&text));
        // A panic of the parser is a refusal too.
        let read = read.map(std::thread::JoinHandle::join);
        read.map_err(|error| error.to_string())?.map_err(|_| "it can't be parsed".to_owned())?
    }

    fn new(text: &str) -> Result<Program, String> {
        let parser = cel::parser::Parser::new().max_recursion_depth(DEEPEST).error_recovery_limit(3);
        let (expression, source) = parser.parse_with_source_info(text).map_err(|errors| {
            let Some(error) = errors.errors.first() else { return "it can't be parsed".to_owned() };
            let (line, column) = error.pos;
            let message = if error.msg.contains("Recursion limit") {
                format!("it is nested more than {DEEPEST} levels deep")
            } else if error.msg.starts_with("invalid string literal") {
                // The parser says more, in the words of its own program.
                "an escape in the text stands for no character".to_owned()
            } else if error.msg.starts_with("invalid bytes literal") {
                "bytes are not supported".to_owned()
            } else {
                error.msg.chars().take(200).collect()
            };
            format!("line {}, column {}: {message}", line.max(1), column.max(1))
        })?;
        let mut checker = Checker { source, variables: Vec::new(), patterns: HashMap::new(), room: PATTERNS };
        checker.check(&expression, DEEPEST_TREE)?;
        if never_boolean(&expression.expr) {
            return Err(
                "it is neither true nor false, whatever the event; a comparison is expected".to_owned()
            );
        }
        let patterns = checker.patterns;
        Ok(Program { expression, patterns })
    }
}

/// Whether an expression has a value of another kind for every event. No variable is true or false.
fn never_boolean(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::Ident(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => true,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::NEGATE
        ),
        _ => false,
    }
}

/// Finds what can't be right before an expression runs.
struct Checker<'a> {
    source: SourceInfo,
    /// Those of the macros around.
    variables: Vec<&'a str>,
    patterns: HashMap<u64, Pattern>,
    /// How large those to come may be.
    room: usize,
}

impl<'a> Checker<'a> {
    fn refuse(&self, at: u64, reason: impl fmt::Display) -> Result<(), String> {
        let Some((start, _)) = self.source.offset_for(at) else { return Err(reason.to_string()) };
        let start = usize::try_from(start).unwrap_or_default();
        let before = self.source.source.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Err(format!("line {line}, column {column}: {reason}"))
    }

    fn check(&mut self, expression: &'a IdedExpr, depth: usize) -> Result<(), String> {
        let id = expression.id;
        let Some(below) = depth.checked_sub(1) else {
            return self.refuse(id, format!("it is nested more than {DEEPEST_TREE} levels deep"));
        };
        match &expression.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => self.refuse(id, "bytes are not supported"),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name)
                if VARIABLES.contains(&name.as_str()) || self.variables.contains(&name.as_str()) =>
            {
                Ok(())
            }
            Expr::Ident(name) => {
                self.refuse(id, format!("there is no variable `{name}`; there are {}", VARIABLES.join(", ")))
            }
            Expr::Select(select) => self.check(&select.operand, below),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.check(element, below)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.check(&entry.key, below)?;
                    self.check(&entry.value, below)
                }
                EntryExpr::StructField(_) => Ok(()),
            }),
            Expr::Comprehension(it) => {
                self.check(&it.iter_range, below)?;
                self.check(&it.accu_init, below)?;
                self.variables.extend([it.accu_var.as_str(), it.iter_var.as_str()]);
                for part in [&it.loop_cond, &it.loop_step, &it.result] {
                    self.check(part, below)?;
                }
                self.variables.truncate(self.variables.len() - 2);
                Ok(())
            }
            Expr::Call(call) => {
                let all: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
                if let Err(reason) = functions::check(&call.func_name, all.len()) {
                    return self.refuse(id, reason);
                }
                for argument in &all {
                    self.check(argument, below)?;
                }
                let literal = all.get(1).map(|argument| match &argument.expr {
                    Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
                    _ => None,
                });
                match (call.func_name.as_str(), literal) {
                    ("matches", Some(pattern)) => self.pattern(id, pattern),
                    (name, Some(zone))
                        if name.starts_with("get") && zone.and_then(functions::zone).is_none() =>
                    {
                        self.refuse(id, "`UTC` or a zone such as `+02:00` is expected, as a literal")
                    }
                    _ => Ok(()),
                }
            }
            Expr::Struct(_) | Expr::Unspecified => self.refuse(id, "messages are not supported"),
        }
    }

    /// Compiles a pattern. It must stand in the expression: one that comes with an event could be of any size.
    fn pattern(&mut self, id: u64, pattern: Option<&str>) -> Result<(), String> {
        let Some(pattern) = pattern else {
            return self.refuse(id, "the pattern of `matches` is expected as a literal");
        };
        let pattern = match Pattern::new(pattern, self.room) {
            Ok(pattern) => pattern,
            Err(error) => {
                let mut reason = error.to_string();
                let mut cause = error.source();
                while let Some(error) = cause {
                    reason = error.to_string();
                    cause = error.source();
                }
                let reason: String = reason.lines().last().unwrap_or_default().chars().take(200).collect();
                return self.refuse(id, format!("the pattern of `matches` can't be used: {reason}"));
            }
        };
        self.room = self.room.saturating_sub(pattern.0.memory_usage());
        self.patterns.insert(id, pattern);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
