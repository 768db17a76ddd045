//! What is right, without I/O: nothing here reads a clock, a socket or a database.
//!
//! Times, random numbers and answers come in as arguments; decisions come out. So a year of retries can be
//! tested in milliseconds. Neither store, push nor http may be reached from here.

pub mod acknowledgement;
pub mod alerts;
pub mod condition;
pub mod document;
pub mod format;
pub mod json;
pub mod lane;
pub mod notification;
pub mod payload;
pub mod retry;
pub mod selection;
pub mod settings;
pub mod simulation;
