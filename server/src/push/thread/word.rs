//! The word of a task: what it tells its thread at its end, and what is told in its place if it panics.
//!
//! A thread counts what it has begun. Were the end of one task never told, its place and its lease would be taken for
//! the life of the node, and the thread would never come to its own end.

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::Event;

/// Tells an event when it is dropped, whichever way that comes about.
struct Word {
    events: UnboundedSender<Event>,
    event: Option<Event>,
}

impl Word {
    /// Tells this in the place of what was to be told.
    fn give(mut self, event: Event) {
        self.event = Some(event);
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            // Fails only when the thread has ended.
            let _ = self.events.send(event);
        }
    }
}

/// Begins a task that tells what it comes to; `otherwise` if it panics.
pub(super) fn begin(
    events: &UnboundedSender<Event>,
    otherwise: Event,
    work: impl Future<Output = Event> + 'static,
) {
    let word = Word { events: events.clone(), event: Some(otherwise) };
    tokio::task::spawn_local(async move { word.give(work.await) });
}

/// As [`begin`], for a task that can be ended with others of its kind: then `otherwise` is told too.
pub(super) fn begin_among(
    tasks: &mut JoinSet<()>,
    events: &UnboundedSender<Event>,
    otherwise: Event,
    work: impl Future<Output = Event> + 'static,
) {
    let word = Word { events: events.clone(), event: Some(otherwise) };
    tasks.spawn_local(async move { word.give(work.await) });
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    use super::*;

    /// What a task tells that would tell `Looked` if it panicked.
    async fn told(work: impl Future<Output = Event> + 'static) -> Event {
        let (events, mut received) = mpsc::unbounded_channel();
        let local = LocalSet::new();
        local.run_until(async { begin(&events, Event::Looked(Vec::new()), work) }).await;
        drop(events);
        let event = local.run_until(received.recv()).await.expect("nothing was told");
        assert!(local.run_until(received.recv()).await.is_none(), "told twice");
        event
    }

    #[tokio::test]
    async fn the_end_of_a_task_is_told_once_also_when_it_panics() {
        assert!(matches!(told(async { Event::Reported(Vec::new()) }).await, Event::Reported(_)));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("as this test wants it")
        };
        assert!(matches!(told(panics).await, Event::Looked(_)));
    }

    #[tokio::test]
    async fn what_is_ended_before_its_end_tells_that() {
        let (events, mut received) = mpsc::unbounded_channel();
        let scenario = async {
            let mut tasks = JoinSet::new();
            begin_among(&mut tasks, &events, Event::Looked(Vec::new()), std::future::pending());
            tokio::task::yield_now().await;
            assert!(received.try_recv().is_err(), "it goes on");
            tasks.abort_all();
            assert!(matches!(received.recv().await, Some(Event::Looked(_))));
        };
        LocalSet::new().run_until(scenario).await;
    }
}
