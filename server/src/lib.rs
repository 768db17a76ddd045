//! Tidings, the server: keeps every notification, pushes it, and lets the receiver catch up.
//!
//! The rooms, from the bottom up: [`rules`] decides without I/O, [`store`] keeps, [`push`] sends, [`http`] answers.
//! A room knows only those below it.

pub mod directory;
pub mod push;
pub mod rules;
pub mod secrets;
pub mod store;
pub mod telemetry;
