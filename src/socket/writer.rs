//! Outcomes → bytes: prints the answers of one connection, many per write.
//!
//! It waits for the peer and for nobody else. A peer that takes nothing for long loses its connection, so that it
//! cannot hold a drain. It never drops an answer while the connection lives.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::ack::{Answer, Body};
use crate::limits::WRITE_STALL_TIMEOUT;
use crate::protocol::reply;
use crate::protocol::request::Ref;

/// Answers printed before they are written: one write for many (20 ns an answer at 500 a write, 850 at one;
/// measured 2026-11).
const ANSWERS_PER_WRITE: usize = 512;
/// Printed bytes that are worth a write; a long echo may pass it by its own length.
const BYTES_PER_WRITE: usize = 64 * 1024;

/// The write half of a connection, with its outbox.
#[derive(Debug)]
pub struct Writer {
    write: OwnedWriteHalf,
    answers: mpsc::Receiver<Answer>,
    /// Bytes that unwritten answers may take; given back as they are written.
    room: Arc<Semaphore>,
    /// Told when the peer is gone, so that the reader stops too.
    gone: CancellationToken,
    epochs: Epochs,
    out: Vec<u8>,
    /// Room taken by what is in `out`.
    out_room: usize,
}

/// Which flushes wait for which answers. An epoch is the events between two flushes.
#[derive(Debug, Default)]
struct Epochs {
    /// Number of the epoch at the front.
    first: u32,
    open: VecDeque<Epoch>,
}

#[derive(Debug, Default)]
struct Epoch {
    answered: u64,
    /// The flush that ended it, and how many events it has in all.
    flush: Option<(Ref, u64)>,
}

impl Writer {
    pub fn new(
        write: OwnedWriteHalf,
        answers: mpsc::Receiver<Answer>,
        room: Arc<Semaphore>,
        gone: CancellationToken,
    ) -> Self {
        Self { write, answers, room, gone, epochs: Epochs::default(), out: Vec::new(), out_room: 0 }
    }

    /// Runs until the reader has ended and every answer it owes is written, or the peer is gone.
    pub async fn run(mut self) {
        let mut group = Vec::new();
        while self.answers.recv_many(&mut group, ANSWERS_PER_WRITE).await > 0 {
            for answer in group.drain(..) {
                self.print(answer);
                if self.out.len() >= BYTES_PER_WRITE && self.write_out().await.is_err() {
                    return self.peer_is_gone().await;
                }
            }
            if self.write_out().await.is_err() {
                return self.peer_is_gone().await;
            }
        }
        // The peer sees the end after the last answer. If it is gone there is nobody to tell.
        let _ = self.write.shutdown().await;
    }

    fn print(&mut self, answer: Answer) {
        match answer {
            Answer::Control { line, room } => {
                self.out.extend_from_slice(&line);
                self.out_room += room;
            }
            Answer::Flush { reference, epoch, events, room } => {
                self.out_room += room;
                self.epochs.get(epoch).flush = Some((reference, events));
                self.epochs.print_flushed(&mut self.out);
            }
            Answer::Event { reference, epoch, body, room } => {
                self.out_room += room;
                match body {
                    Body::Refused(refusal) => reply::refusal(&mut self.out, &reference, &refusal),
                    Body::Durable(durable) => reply::ack(&mut self.out, &reference, &durable),
                }
                self.epochs.get(epoch).answered += 1;
                self.epochs.print_flushed(&mut self.out);
            }
        }
    }

    async fn write_out(&mut self) -> io::Result<()> {
        let mut unwritten = self.out.as_slice();
        while !unwritten.is_empty() {
            let written = tokio::time::timeout(WRITE_STALL_TIMEOUT, self.write.write(unwritten)).await??;
            unwritten = &unwritten[written..];
        }
        self.out.clear();
        self.out.shrink_to(BYTES_PER_WRITE);
        self.room.add_permits(std::mem::take(&mut self.out_room));
        Ok(())
    }

    /// The events that were read are delivered all the same; only their answers have no reader.
    async fn peer_is_gone(mut self) {
        self.gone.cancel();
        while self.answers.recv().await.is_some() {}
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

    /// A flush is answered when its epoch and all before it are: they leave at the front.
    fn print_flushed(&mut self, out: &mut Vec<u8>) {
        while let Some(Epoch { answered, flush: Some((reference, events)) }) = self.open.front() {
            if answered < events {
                return;
            }
            reply::done(out, "flush", reference);
            self.open.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_every_event_before_it_and_for_none_after() {
        let mut epochs = Epochs::default();
        let mut out = Vec::new();
        epochs.get(0).flush = Some((Ref::Given("1".into()), 2));
        epochs.get(0).answered += 1;
        epochs.get(1).answered += 5;
        epochs.get(1).flush = Some((Ref::Given("2".into()), 5));
        epochs.print_flushed(&mut out);
        assert!(out.is_empty(), "one event of the first epoch is not answered");
        epochs.get(0).answered += 1;
        epochs.print_flushed(&mut out);
        assert_eq!(out, b"{\"op\":\"flush\",\"ref\":1,\"ok\":true}\n{\"op\":\"flush\",\"ref\":2,\"ok\":true}\n");
        assert!(epochs.open.is_empty());
        assert_eq!(epochs.first, 2);
    }
}
