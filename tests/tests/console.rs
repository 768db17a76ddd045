//! The console in a real browser: each screen's main task by mouse and by keyboard, at a desk and on a phone, by day and
//! by night; what a hostile event can do there; and how it fares with a hundred thousand notifications.

#[path = "console/desk.rs"]
mod desk;
#[path = "console/hostile.rs"]
mod hostile;
#[path = "console/large.rs"]
mod large;
#[path = "console/looks.rs"]
mod looks;
#[path = "console/notifications.rs"]
mod notifications;
#[path = "console/queue.rs"]
mod queue;
#[path = "console/settings.rs"]
mod settings;
#[path = "console/story.rs"]
mod story;
#[path = "console/tenants.rs"]
mod tenants;
