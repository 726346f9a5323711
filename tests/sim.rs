//! The lane under chance: buffer and settle against a model stream, in virtual time, with every fault that the
//! stream knows. One seed is one run and decides all of it, so a failing seed is a bug report:
//! `DISPATCHD_SIM_SEED=2834 cargo test --test sim` runs it alone; `DISPATCHD_SIM_SEEDS` runs as many as it says.
//!
//! - [`plan`]: what a seed stands for: rules, events, faults.
//! - [`stream`]: the model stream: shards, what they hold, what they say.
//! - [`run`]: the lane's task in virtual time, with real tickets, books and budget.
//! - [`watch`]: the promises, each a named check, watched from outside.
//! - [`mutant`]: lanes that are wrong on purpose, and the check that is there for each.
//!
//! It never sleeps, starts no thread and no task, and reads the clock once, for an origin.
//!
//! What a mutant cannot do from outside was tried by hand, by changing `src/lane` and looking at what fails. Of 3000
//! seeds, and of the unit tests beside the lane (2026-11):
//!
//! | change in `src/lane` | seeds | the check that fails | unit tests |
//! |---|---|---|---|
//! | retries put behind the key's later events | 2014 | oldest of the key first | 4 |
//! | retries put back in reverse | 465 | oldest of the key first | 2 |
//! | strict takes many of a key, with that check off | 637 | order | 3 |
//! | the rest of a key that was cut goes to the back | 84 | oldest of the key first | 1 |
//! | a throttled shard makes every line rest | 172 | sent within linger | 2 |
//! | shards that rest are sent to | 459 | a shard rests | 1 |
//! | a throttled record makes no shard rest | 607 | a shard rests | 2 |
//! | an entry left behind ends a later cooling (was so) | 4 | a key cools | 1 |
//! | throttled without a map leaves it blocked (was so) | 3 | a blocked stream is known | 1 |
//! | many probes at once | 236 | one probe at a time | 1 |
//! | a probe is a full request | 186 | one probe at a time | 2 |
//! | a flight home late counts as a failed probe | 0 | | 1 |
//! | when it blocks, parts stay out of their queues | 2 | gauges | 1 |
//! | poison by name: off by one | 21 | poison is found in log2(n)+1 | 3 |
//! | poison without a name: one record at a time | 58 | poison is found in log2(n)+1 | 2 |
//! | maybe stored: the last attempt alone counts | 83 | maybe stored is told | 1 |
//! | a key in relaxed order passes `max_records` | 254 | request limits | 0 |
//! | bytes of a key's later records do not count | 389 | request limits | 1 |
//! | a key that comes back stands last | 107 | sent within linger | 2 |
//! | poll sleeps past linger | 1258 | sent within linger | 3 |
//! | the next wake forgets shards, or keys | 36, 72 | everything is answered in time | 1, 1 |
//! | the drain forgets keys, shards, or the probe | 164, 57, 82 | sent within linger; a drain probes at once | 1, 1, 2 |
//! | new shards: ready keys get no place | 422 | sent within linger | 1 |
//! | new shards: ready keys keep their old line | panics | | 1 |
//! | no pause between looks for what is overdue | 1036 | no busy loop | 0 |
//! | what expired still counts for a full request | 0 | | 1 |
//! | what rests counts for a full request | 0 | | 1 |
//! | the gauge of held keys is not lowered | 2970 | gauges | 3 |
//! | what is settled still counts as alive | 2864 | oldest | 1 |
//!
//! The three that no seed sees cost company or a second of waiting and break no promise.

#[path = "sim/mutant.rs"]
mod mutant;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/stream.rs"]
mod stream;
#[path = "sim/watch.rs"]
mod watch;

use mutant::Mutant;
use watch::Tally;

/// Seeds 0 to this, always. The rarest bug that was found showed in one of them.
const SEEDS_COUNT: u64 = 3000;

/// Failing seeds that are printed: the first say enough.
const SHOWN_MAX: usize = 8;

#[test]
fn every_promise_holds_in_the_fixed_seeds_and_in_one_more() {
    let seeds: Vec<u64> = match number("DISPATCHD_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("DISPATCHD_SIM_SEEDS").unwrap_or(SEEDS_COUNT)).chain([rand::random()]).collect(),
    };
    println!("the last seed is {:?}", seeds.last());
    let mut sum = Tally::default();
    let mut broken = Vec::new();
    for &seed in &seeds {
        match run::run(seed, None) {
            Ok(mut tally) => sum.counts().into_iter().zip(tally.counts()).for_each(|(sum, one)| *sum.1 += *one.1),
            Err(found) => broken.push(found.what),
        }
    }
    let shown = broken[..broken.len().min(SHOWN_MAX)].join("\n");
    assert!(broken.is_empty(), "{} of {} seeds fail, among them\n{shown}", broken.len(), seeds.len());
    for (what, count) in sum.counts() {
        println!("{what}: {count}");
        // A simulation that no longer gets to what it is for would be green for ever.
        assert!(*count > 0 || (seeds.len() as u64) < SEEDS_COUNT, "no seed gets to this: {what}");
    }
}

#[test]
fn every_mutant_is_caught_by_the_check_that_is_there_for_it() {
    let mut survivors = Vec::new();
    for &(mutant, check) in Mutant::ALL {
        let caught = |seed| run::run(seed, Some(mutant)).err().filter(|broken| broken.check == check);
        match (0..SEEDS_COUNT).find_map(caught) {
            Some(broken) => println!("{mutant:?}: {}", broken.what),
            None => survivors.push(format!("{mutant:?} lives: no seed fails the check: {check}")),
        }
    }
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}
