//! The places of a server that keeps connections alive: what is waited for at each, since when, and
//! who has to make room.
//!
//! We wait for a caller's bytes with a limit, and where all places are taken, a caller that we wait
//! for makes room for one that comes: so no crowd of idle or slow callers keeps anybody out. A
//! caller that waits for us keeps its place. Nothing here reads or writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::limits::{HEAD_TIMEOUT, IDLE_TIMEOUT};

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    /// Cancelled when the connection is to end: it makes room, or the daemon stops.
    pub end: CancellationToken,
    /// A lock, since the server's listener looks at it while the connection's own task changes it.
    /// It is held for an assignment or a comparison.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    awaited: Awaited,
    since: Instant,
    /// Requests that are here in full and are not answered.
    answering: u32,
}

/// What a caller sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request,
    RestOfHead,
    RestOfBody,
}

/// A request that is here in full, until this is dropped with its answer.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Place>);

/// All the places.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: Vec<Arc<Place>>,
}

impl Place {
    pub(crate) fn new(end: CancellationToken) -> Arc<Self> {
        let state = State { awaited: Awaited::Request, since: Instant::now(), answering: 0 };
        Arc::new(Self { end, state: Mutex::new(state) })
    }

    /// The caller sent bytes: of a new request, if one is waited for.
    pub(crate) fn heard(&self) {
        let mut state = self.state();
        if state.awaited == Awaited::Request && state.answering == 0 {
            (state.awaited, state.since) = (Awaited::RestOfHead, Instant::now());
        }
    }

    /// The caller took bytes of an answer: its time for the next request begins anew.
    pub(crate) fn took(&self) {
        let mut state = self.state();
        if state.awaited == Awaited::Request {
            state.since = Instant::now();
        }
    }

    /// A request's head is here, its body may not be.
    pub(crate) fn await_body(&self) {
        let mut state = self.state();
        (state.awaited, state.since) = (Awaited::RestOfBody, Instant::now());
    }

    /// A request is here in full, or is not read any further.
    pub(crate) fn answer(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        state.awaited = Awaited::Request;
        state.answering += 1;
        Answering(Arc::clone(self))
    }

    /// Ends once the caller has had its time.
    pub(crate) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return,
                // What is waited for may change meanwhile, to what has less time.
                Some(deadline) => sleep_until(deadline.min(now + HEAD_TIMEOUT)).await,
                None => sleep_until(now + HEAD_TIMEOUT).await,
            }
        }
    }

    /// `None` while the caller waits for us, or while its body is read: who reads that has the time
    /// of it, and tells the caller when it is over.
    fn deadline(&self) -> Option<Instant> {
        let State { awaited, since, answering } = *self.state();
        let time = match awaited {
            Awaited::Request => IDLE_TIMEOUT,
            Awaited::RestOfHead => HEAD_TIMEOUT,
            Awaited::RestOfBody => return None,
        };
        (answering == 0).then(|| since + time)
    }

    /// Since when we wait for the caller; `None` while it waits for us.
    fn awaited_since(&self) -> Option<Instant> {
        let State { since, answering, .. } = *self.state();
        (answering == 0).then_some(since)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answering -= 1;
        state.since = Instant::now();
    }
}

impl Places {
    pub(crate) fn at_most(max: usize) -> Self {
        Self { max, taken: Vec::new() }
    }

    /// The place of one more connection; where all are taken, the caller that we have waited for
    /// the longest makes room. `None`: all callers wait for us.
    pub(crate) fn take(&mut self, end: CancellationToken) -> Option<Arc<Place>> {
        // A place whose connection has ended is held by nobody else.
        self.taken.retain(|place| Arc::strong_count(place) > 1 && !place.end.is_cancelled());
        if self.taken.len() >= self.max {
            self.make_room()?;
        }
        let place = Place::new(end);
        self.taken.push(Arc::clone(&place));
        Some(place)
    }

    fn make_room(&mut self) -> Option<()> {
        let since = |(at, place): (usize, &Arc<Place>)| Some((place.awaited_since()?, at));
        let (_, longest) = self.taken.iter().enumerate().filter_map(since).min()?;
        self.taken.swap_remove(longest).end.cancel();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn overdue_after(place: &Place) -> Duration {
        let began = Instant::now();
        place.overdue().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_to_a_full_house_takes_the_place_of_one_that_we_wait_for() {
        let mut places = Places::at_most(2);
        let first = places.take(CancellationToken::new()).expect("there is room");
        let second = places.take(CancellationToken::new()).expect("there is room");
        tokio::time::advance(Duration::from_secs(1)).await;
        let answering = first.answer();
        let third = places.take(CancellationToken::new()).expect("the second one is idle");
        assert_eq!([&first, &second].map(|place| place.end.is_cancelled()), [false, true]);
        let _busy = third.answer();
        assert!(places.take(CancellationToken::new()).is_none(), "both wait for us");
        drop(answering);
        drop(first); // its connection has ended
        assert!(places.take(CancellationToken::new()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_has_one_time_for_each_thing_that_it_sends_and_none_runs_while_we_work() {
        let place = Place::new(CancellationToken::new());
        assert_eq!(overdue_after(&place).await, IDLE_TIMEOUT);
        place.heard();
        tokio::time::advance(HEAD_TIMEOUT / 2).await;
        place.heard();
        assert_eq!(overdue_after(&place).await, HEAD_TIMEOUT / 2, "more bytes give no more time");
        let never = || tokio::time::timeout(10 * IDLE_TIMEOUT, place.overdue());
        place.await_body();
        assert!(never().await.is_err(), "who reads the body has the time of it");
        let answering = place.answer();
        assert!(never().await.is_err(), "it waits for us");
        drop(answering);
        assert_eq!(overdue_after(&place).await, IDLE_TIMEOUT);
    }
}
