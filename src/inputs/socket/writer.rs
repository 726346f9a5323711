//! The write half of a connection: prints answers as bytes, many a write.
//!
//! The writer waits for the peer and for nobody else. A peer that takes nothing for long loses its
//! connection, so that it cannot hold up a drain. No answer is dropped while the connection lives.
//! A peer that has closed gets no answers; what it wrote before is read to its end and delivered
//! all the same.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use dispatchd_core::limits::WRITE_STALL_TIMEOUT;
use dispatchd_core::model::Reference;
use dispatchd_core::wire::ndjson::answer;
use dispatchd_producer::credit::{Credit, CreditTotal};
use dispatchd_producer::gathering::Gathered;
use dispatchd_producer::intake::WayBack;
use dispatchd_producer::ticket::Answer;

/// Groups of answers taken out of the outbox at once.
const GROUPS_PER_TAKE: usize = 64;
/// Printed bytes that are written at once; a long echo may exceed this by its own length. An answer
/// costs 20 ns where 500 share a write, and 850 ns where it has a write of its own (measured
/// 2026-11).
const BYTES_PER_WRITE: usize = 64 * 1024;

/// The write half of a connection, with its outbox.
#[derive(Debug)]
pub(super) struct Writer {
    write: OwnedWriteHalf,
    way_back: WayBack,
    /// Cancelled when the peer takes nothing, so that the reader stops too.
    gone: CancellationToken,
    peer_has_closed: bool,
    /// When results that many events share must be taken: they hold bytes of the budget, so that a
    /// peer may not take them as slowly as it likes.
    due: Option<Instant>,
    epochs: Epochs,
    out: Vec<u8>,
    /// What is in `out`.
    printed: CreditTotal,
}

/// Which flushes wait for which answers. An epoch holds the events between two flushes.
#[derive(Debug, Default)]
struct Epochs {
    /// The number of the first epoch in `open`.
    first: u32,
    open: VecDeque<Epoch>,
}

#[derive(Debug, Default)]
struct Epoch {
    answered: u64,
    flush: Option<Flush>,
}

/// A flush that ends an epoch. Its credit is held until its answer is printed, so what waits is
/// bounded by the credits.
#[derive(Debug)]
struct Flush {
    reference: Reference,
    /// All events of the epoch.
    events: u64,
    credit: Credit,
}

impl Writer {
    pub(super) fn new(write: OwnedWriteHalf, way_back: WayBack, gone: CancellationToken) -> Self {
        let (epochs, out, printed) = (Epochs::default(), Vec::new(), CreditTotal::default());
        let (peer_has_closed, due) = (false, None);
        Self { write, way_back, gone, peer_has_closed, due, epochs, out, printed }
    }

    /// Writes until the reader has ended and every answer that is owed is written. Says whether the
    /// peer has closed, so that it knows nothing of what is left.
    pub(super) async fn run(mut self) -> bool {
        let mut groups = Vec::new();
        while self.way_back.answers.recv_many(&mut groups, GROUPS_PER_TAKE).await > 0 {
            let are_shared = groups.iter().flatten().any(|a| matches!(a, Answer::Gathered(_)));
            self.due = are_shared.then(|| Instant::now() + WRITE_STALL_TIMEOUT);
            for answer in groups.iter().flatten() {
                match answer {
                    Answer::Gathered(gathered) => self.print_gathered(gathered).await,
                    answer => self.print(answer),
                }
                if self.out.len() >= BYTES_PER_WRITE {
                    self.write_out().await;
                }
            }
            groups.clear();
            self.write_out().await;
        }
        let has_closed = self.peer_has_closed || self.is_closed_by_now().await;
        // The peer sees the end after the last answer. If it is gone there is nobody to tell.
        let _ = self.write.shutdown().await;
        has_closed
    }

    fn print(&mut self, answer: &Answer) {
        match *answer {
            Answer::Control { ref line, credit } => {
                self.out.extend_from_slice(line);
                self.printed.add(credit);
            }
            Answer::Flush { ref reference, epoch, events, credit } => {
                let reference = reference.clone();
                self.epochs.get(epoch).flush = Some(Flush { reference, events, credit });
                self.epochs.print_flushed(&mut self.out, &mut self.printed);
            }
            Answer::Event { ref reference, place, ref answer, credit } => {
                answer::event(&mut self.out, reference, answer);
                self.is_printed(place, credit);
            }
            Answer::Gathered(_) => unreachable!("it is printed piece by piece"),
        }
    }

    /// Prints many results. They are written as they are printed, so that their text is never
    /// beside them in memory as a whole.
    async fn print_gathered(&mut self, gathered: &Gathered) {
        self.out.extend_from_slice(&gathered.head);
        answer::results(&mut self.out, gathered.is_ok());
        for (index, (reference, answer)) in gathered.results.iter().enumerate() {
            answer::result(&mut self.out, index == 0, reference, answer);
            if self.out.len() >= BYTES_PER_WRITE {
                self.write_out().await;
            }
        }
        self.out.extend_from_slice(answer::END);
        self.is_printed(gathered.epoch, gathered.credit);
    }

    /// An answer of this epoch is printed.
    fn is_printed(&mut self, epoch: u32, credit: Credit) {
        self.printed.add(credit);
        self.epochs.get(epoch).answered += 1;
        self.epochs.print_flushed(&mut self.out, &mut self.printed);
    }

    /// Writes what is printed and gives the credits back, even where nobody takes the answers: a
    /// peer that has closed may have left lines to be read.
    async fn write_out(&mut self) {
        if !self.peer_has_closed && !self.gone.is_cancelled() {
            match self.write_all().await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => self.gone.cancel(),
                Err(_) => self.peer_has_closed = true,
            }
        }
        self.out.clear();
        self.out.shrink_to(BYTES_PER_WRITE);
        self.way_back.credits.give_back(std::mem::take(&mut self.printed));
    }

    async fn write_all(&mut self) -> io::Result<()> {
        let mut unwritten = self.out.as_slice();
        while !unwritten.is_empty() {
            let stalls = Instant::now() + WRITE_STALL_TIMEOUT;
            let patience = self.due.map_or(stalls, |due| due.min(stalls));
            let written = timeout_at(patience, self.write.write(unwritten)).await??;
            unwritten = &unwritten[written..];
        }
        Ok(())
    }

    /// Looks once whether the peer has closed: a peer whose buffer is full has not.
    async fn is_closed_by_now(&self) -> bool {
        let mut ready = pin!(self.write.ready(Interest::WRITABLE));
        let looked = poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await;
        matches!(looked, Poll::Ready(Ok(ready)) if ready.is_write_closed())
    }
}

impl Epochs {
    fn get(&mut self, epoch: u32) -> &mut Epoch {
        let index = epoch.wrapping_sub(self.first) as usize;
        if index >= self.open.len() {
            self.open.resize_with(index + 1, Epoch::default);
        }
        &mut self.open[index]
    }

    /// Prints the answers of flushes whose epochs, and all before them, are answered.
    fn print_flushed(&mut self, out: &mut Vec<u8>, printed: &mut CreditTotal) {
        while let Some(Epoch { answered, flush: Some(flush) }) = self.open.front() {
            if *answered < flush.events {
                return;
            }
            answer::done(out, "flush", &flush.reference);
            printed.add(flush.credit);
            self.open.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use dispatchd_core::model::envelope::Timestamp;
    use dispatchd_core::model::{Code, Refusal};
    use dispatchd_producer::budget::Budget;
    use dispatchd_producer::credit::credits;
    use dispatchd_producer::intake::{IntakeShared, Now, OfferedTogether};
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    fn shared(budget_bytes: usize) -> Arc<IntakeShared> {
        Arc::new(IntakeShared {
            producer_id: "app@host".into(),
            envelopes: Default::default(),
            transaction: Default::default(),
            answers_max: 2,
            answer_bytes_max: 1000,
            record_bytes_carried: 1000,
            budget: Budget::new(budget_bytes),
            counters: Arc::default(),
            fingerprints: Default::default(),
            checks: Default::default(),
        })
    }

    #[tokio::test]
    async fn a_peer_that_is_there_gets_every_answer_before_the_end() {
        let shared = shared(1000);
        let (mut intake, way_back) = shared.open(None);
        let (ours, mut peer) = UnixStream::pair().expect("a pair of sockets");
        let (_read, write) = ours.into_split();
        let writer = Writer::new(write, way_back, CancellationToken::new());
        for line in [&b"1\n"[..], b"2\n"] {
            let credit = intake.credit(10).expect("there are two");
            intake.answer(credit, line.to_vec());
        }
        drop(intake);
        assert!(!writer.run().await, "the peer has not closed");
        let mut told = Vec::new();
        peer.read_to_end(&mut told).await.expect("the writer has ended");
        assert_eq!(told, b"1\n2\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_shared_results_as_slowly_as_it_can_is_given_up() {
        let shared = shared(8 << 20);
        let (mut intake, way_back) = shared.open(None);
        let (ours, mut peer) = UnixStream::pair().expect("a pair of sockets");
        let (_read, write) = ours.into_split();
        let gone = CancellationToken::new();
        let writer = Writer::new(write, way_back, gone.clone());
        let refused = || Refusal::new(Code::InvalidRequest, "x".repeat(500));
        let members = (0..4000).map(|n| Err((Reference::Number(n), refused())));
        let timestamp = Timestamp::from_unix_ms(0);
        let now = Now { instant: std::time::Instant::now(), timestamp };
        let offered = intake.offer_together(b"{", members, &now);
        assert!(matches!(offered, OfferedTogether::Accepted(_)), "{offered:?}");
        drop(intake);
        let slow = tokio::spawn(async move {
            let mut some = [0; 64 * 1024];
            while peer.read(&mut some).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(WRITE_STALL_TIMEOUT * 9 / 10).await;
            }
        });
        let began = Instant::now();
        writer.run().await;
        assert!(gone.is_cancelled(), "it is given up");
        assert!(began.elapsed() <= WRITE_STALL_TIMEOUT * 2, "{:?}", began.elapsed());
        assert_eq!(shared.budget.used_bytes(), 0);
        slow.abort();
    }

    #[test]
    fn a_flush_waits_for_every_event_before_it_and_for_none_after() {
        let (mut epochs, mut out) = (Epochs::default(), Vec::new());
        let (mut printed, mut both) = (CreditTotal::default(), CreditTotal::default());
        let (mut credits, _returns) = credits(2, 100);
        let mut flush = |reference: &str, events| {
            let credit = credits.try_take(7).expect("there are two");
            both.add(credit);
            Some(Flush { reference: Reference::Text(reference.into()), events, credit })
        };
        epochs.get(0).flush = flush("1", 2);
        epochs.get(0).answered += 1;
        epochs.get(1).answered += 5;
        epochs.get(1).flush = flush("2", 5);
        epochs.print_flushed(&mut out, &mut printed);
        assert!(out.is_empty(), "one event of the first epoch is not answered");
        assert_eq!(printed, CreditTotal::default(), "flushes that wait keep their credits");
        epochs.get(0).answered += 1;
        epochs.print_flushed(&mut out, &mut printed);
        assert_eq!(printed, both);
        assert_eq!(
            out,
            b"{\"op\":\"flush\",\"ref\":1,\"ok\":true}\n{\"op\":\"flush\",\"ref\":2,\"ok\":true}\n"
        );
        assert!(epochs.open.is_empty());
        assert_eq!(epochs.first, 2);
    }
}
