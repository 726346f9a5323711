//! What happened in a run, or in many, counted: to see that the seeds get to everything.

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub records: usize,
    pub lives: usize,
    pub stops: usize,
    pub children: usize,
    pub batches: usize,
    pub partly_done: usize,
    pub attempts_counted: usize,
    pub halves: usize,
    pub refused: usize,
    pub unavailable: usize,
    pub unauthorized: usize,
    pub skipped: usize,
    pub too_old: usize,
    pub given_up_refused: usize,
    pub exhausted: usize,
    pub letters_not_kept: usize,
    pub checkpoints: usize,
    pub not_persisted: usize,
    /// Checkpoints inside a packed record.
    pub inside_packed: usize,
    pub throttled: usize,
    pub expired: usize,
}

impl dispatchd_simulation::Tally for Tally {
    fn counts(&mut self) -> Vec<(&'static str, &mut usize)> {
        vec![
            ("records", &mut self.records),
            ("lives of the process", &mut self.lives),
            ("stops", &mut self.stops),
            ("children of shards", &mut self.children),
            ("batches", &mut self.batches),
            ("batches partly done", &mut self.partly_done),
            ("attempts that count", &mut self.attempts_counted),
            ("halved batches", &mut self.halves),
            ("refused batches", &mut self.refused),
            ("batches with nobody there", &mut self.unavailable),
            ("batches with the wrong token", &mut self.unauthorized),
            ("events skipped", &mut self.skipped),
            ("events too old", &mut self.too_old),
            ("events given up as refused", &mut self.given_up_refused),
            ("events given up after their attempts", &mut self.exhausted),
            ("dead letters not kept", &mut self.letters_not_kept),
            ("checkpoints", &mut self.checkpoints),
            ("checkpoints not persisted", &mut self.not_persisted),
            ("checkpoints inside a packed record", &mut self.inside_packed),
            ("throttled reads", &mut self.throttled),
            ("expired iterators", &mut self.expired),
        ]
    }
}
