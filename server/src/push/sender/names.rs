//! Look-ups of names: one at a time for each name, on threads of their own.
//!
//! The resolver of the system blocks its thread until it has an answer, for half a minute and more if the name server is
//! silent, and can't be told to stop. A tenant chooses the name, and may have hundreds of attempts that wait for it: they
//! all wait for one look-up. And what blocks is none of the threads on which the database is read.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

/// The most names that are looked up at a time, for each sender. The others wait for their turn.
const MOST: usize = 256;

/// What came of a look-up: shared by all who wait for it.
pub(super) type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

/// The look-ups that are under way.
pub(super) struct Names {
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
    /// Whoever looks a name up holds the other end of its channel.
    under_way: Mutex<HashMap<String, watch::Receiver<Option<Found>>>>,
    places: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        Self::with(|name| {
            let addresses = (name, 0).to_socket_addrs()?;
            Ok(addresses.map(|address: SocketAddr| address.ip()).collect())
        })
    }
}

impl Names {
    fn with(look_up: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Names { look_up, under_way: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// The addresses of a name. Must be called on a tokio runtime.
    pub(super) async fn find(&self, name: &str) -> Found {
        let mut answer = self.answer(name);
        let found = answer.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(Arc::new(io::Error::other("the look-up has panicked"))))
    }

    /// Where the answer will be: that of a look-up which is under way, or else of a new one.
    fn answer(&self, name: &str) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are not asked again: a name may lead somewhere else a moment later.
        under_way.retain(|_, answer| answer.has_changed().is_ok());
        if let Some(answer) = under_way.get(name) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(name.to_owned(), answer.clone());
        let (look_up, places, name) = (self.look_up, Arc::clone(&self.places), name.to_owned());
        // It goes on when nobody waits any more: its thread can't be stopped, and the next who asks waits for it.
        tokio::spawn(async move {
            let Ok(place) = places.acquire_owned().await else { return };
            let answered = sender.clone();
            let work = move || {
                let _place = place;
                sender.send_replace(Some(look_up(&name).map_err(Arc::new)));
            };
            if let Err(error) = std::thread::Builder::new().name("tidings-names".to_owned()).spawn(work) {
                answered.send_replace(Some(Err(Arc::new(error))));
            }
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, MutexGuard};
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static IS_SILENT: Mutex<bool> = Mutex::new(true);
    static SPEAKS: Condvar = Condvar::new();

    fn is_silent() -> MutexGuard<'static, bool> {
        IS_SILENT.lock().unwrap()
    }

    /// A name server that is silent about one name until it is told to speak.
    fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "silent.example" => {
                ASKED.fetch_add(1, Ordering::SeqCst);
                drop(SPEAKS.wait_while(is_silent(), |silent| *silent).unwrap());
                Ok(vec![Ipv4Addr::new(1, 1, 1, 1).into()])
            }
            "unknown.example" => Err(io::Error::other("no such name")),
            "panics.example" => panic!("as this test wants it"),
            _ => Ok(vec![Ipv4Addr::new(2, 2, 2, 2).into()]),
        }
    }

    /// The runtime has a single thread for what blocks, which stands for the many that a few hundred look-ups would fill.
    #[test]
    fn who_waits_for_a_silent_name_server_takes_one_thread_and_none_that_others_need() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let names = Arc::new(Names::with(look_up));
            let mut waiting = JoinSet::new();
            for _ in 0..600 {
                let names = Arc::clone(&names);
                waiting.spawn(async move { names.find("silent.example").await });
            }
            let others = async {
                while ASKED.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(names.find("other.example").await.unwrap(), [Ipv4Addr::new(2, 2, 2, 2)]);
                assert_eq!(names.find("unknown.example").await.unwrap_err().to_string(), "no such name");
                assert!(names.find("panics.example").await.is_err());
                assert_eq!(tokio::task::spawn_blocking(|| 3).await.unwrap(), 3);
            };
            tokio::time::timeout(Duration::from_secs(20), others).await.expect("others had to wait");
            // Those that have given up meanwhile leave their look-up to those that come.
            waiting.abort_all();
            while waiting.join_next().await.is_some() {}
            let (names, late) = (Arc::clone(&names), tokio::time::Duration::from_secs(20));
            let asked_again = tokio::spawn(async move { names.find("silent.example").await });
            tokio::task::yield_now().await;
            *is_silent() = false;
            SPEAKS.notify_all();
            let found = tokio::time::timeout(late, asked_again).await.expect("there is an answer").unwrap();
            assert_eq!(found.unwrap(), [Ipv4Addr::new(1, 1, 1, 1)]);
            assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        });
    }
}
