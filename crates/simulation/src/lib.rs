//! What every simulation does with its seeds: which ones run, what of them is told, and whether
//! each mutant is caught. For tests only.
//!
//! It knows no engine: a run is a function of a seed, and what it promises is in its own hands. It
//! draws the one seed that is not fixed, reads two variables of the environment, and nothing else.

use std::fmt;

/// Runs one seed and no other.
const SEED: &str = "DISPATCHD_SIM_SEED";

/// Runs so many seeds in the place of the fixed ones.
const SEEDS_COUNT: &str = "DISPATCHD_SIM_SEEDS";

/// Failing seeds that are told: the first say enough.
const TOLD_MAX: usize = 8;

/// A promise that was not kept.
#[derive(Debug)]
pub struct Broken {
    /// The name of the promise.
    pub check: &'static str,
    pub what: String,
}

/// What happened in a run, or in many, counted.
pub trait Tally: Default {
    /// Each count with its name, always in the same order.
    fn counts(&mut self) -> Vec<(&'static str, &mut usize)>;
}

/// Names the seed of a run that panics: an engine asserts promises too.
struct Seed(u64);

impl Broken {
    /// This breach with the seed, and where its run had come to.
    pub fn at(self, seed: u64, place: impl fmt::Display) -> Self {
        let Self { check, what } = self;
        Self { check, what: format!("seed {seed}, {place}: {check}: {what}") }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} panics", self.0);
        }
    }
}

/// Runs the seeds below `fixed` and one more, or those that the environment asks for.
///
/// # Panics
/// If a run breaks a promise, or all of the fixed ones together never get to something that is
/// counted: then the simulation is no longer for it, and would be green for ever.
pub fn every_promise_holds<T: Tally>(fixed: u64, run: impl Fn(u64) -> Result<T, Broken>) {
    let seeds = seeds(fixed);
    println!("the last seed is {:?}", seeds.last());
    let (mut sum, mut broken) = (T::default(), Vec::new());
    for &seed in &seeds {
        let _named = Seed(seed);
        match run(seed) {
            Ok(mut tally) => {
                sum.counts().into_iter().zip(tally.counts()).for_each(|(sum, one)| *sum.1 += *one.1)
            }
            Err(found) => broken.push(found.what),
        }
    }
    let told = broken[..broken.len().min(TOLD_MAX)].join("\n");
    let (failed, all) = (broken.len(), seeds.len());
    assert!(broken.is_empty(), "{failed} of {all} seeds fail, among them\n{told}");
    for (what, count) in sum.counts() {
        println!("{what}: {count}");
        assert!(*count > 0 || (all as u64) < fixed, "no seed gets to this: {what}");
    }
}

/// Runs each mutant until a seed below `fixed` breaks the promise that is named beside it.
///
/// # Panics
/// If a mutant lives.
pub fn every_mutant_is_caught<M: fmt::Debug + Copy, T>(
    mutants: &[(M, &str)],
    fixed: u64,
    run: impl Fn(u64, M) -> Result<T, Broken>,
) {
    let mut survivors = Vec::new();
    for &(mutant, check) in mutants {
        let caught = |seed| run(seed, mutant).err().filter(|broken| broken.check == check);
        match (0..fixed).find_map(caught) {
            Some(broken) => println!("{mutant:?}: {}", broken.what),
            None => survivors.push(format!("{mutant:?} lives: no seed fails the check: {check}")),
        }
    }
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

fn seeds(fixed: u64) -> Vec<u64> {
    match number(SEED) {
        Some(seed) => vec![seed],
        None => (0..number(SEEDS_COUNT).unwrap_or(fixed)).chain([rand::random()]).collect(),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Runs(usize);

    impl Tally for Runs {
        fn counts(&mut self) -> Vec<(&'static str, &mut usize)> {
            vec![("runs", &mut self.0)]
        }
    }

    fn breaks(check: &'static str) -> Result<Runs, Broken> {
        Err(Broken { check, what: "it does not hold".into() })
    }

    #[test]
    #[should_panic(expected = "1 of 4 seeds fail")]
    fn one_seed_that_breaks_a_promise_is_told_of() {
        every_promise_holds(3, |seed| if seed == 1 { breaks("order") } else { Ok(Runs(1)) });
    }

    #[test]
    #[should_panic(expected = "no seed gets to this: runs")]
    fn a_simulation_that_gets_to_nothing_fails() {
        every_promise_holds(3, |_| Ok(Runs(0)));
    }

    #[test]
    #[should_panic(expected = "7 lives: no seed fails the check: order")]
    fn a_mutant_that_another_check_catches_lives() {
        every_mutant_is_caught(&[(7, "order")], 3, |_, _| breaks("budget"));
    }

    #[test]
    fn a_mutant_is_caught_by_its_own_check_in_any_of_the_seeds() {
        let run = |seed, _| if seed == 2 { breaks("order") } else { Ok(Runs(1)) };
        every_mutant_is_caught(&[(7, "order")], 3, run);
    }
}
