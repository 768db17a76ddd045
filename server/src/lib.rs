//! Tidings, the server: keeps every notification, pushes it, and lets the receiver catch up.
//!
//! The rooms, from the bottom up: [`rules`] decides without I/O, [`store`] keeps, [`push`] sends, [`http`] answers.
//! A room knows only those below it.

pub mod alerts;
pub mod config;
pub mod directory;
pub mod first_run;
pub mod http;
pub mod jobs;
pub mod provision;
pub mod push;
pub mod retention;
pub mod rules;
pub mod secrets;
pub mod serve;
pub mod store;
pub mod telemetry;
