//! Waiting for a sign from elsewhere, on whatever runtime.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// A sign that is kept until the one who waits for it has seen it.
#[derive(Default)]
pub(super) struct Signal {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn clear(&self) {
        self.is_set.store(false, Ordering::Release);
    }

    /// Waits until it is set, and clears it. Only one may wait.
    pub(super) async fn seen(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.is_set.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await
    }
}
