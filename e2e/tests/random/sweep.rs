//! Judges many CRs on all processors.

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// How one CR of a sweep compares with upstream's.
pub enum Verdict {
    /// Both make the same of it.
    Equal,
    /// Both refuse it.
    Refused,
    /// They differ, and in what.
    Different(String),
}

/// How many CRs a sweep tries, and which.
pub struct Sweep {
    /// The variable that sets how many; with `_SEED` behind it, the one that sets which.
    pub variable: &'static str,
    /// How many, if the variable is absent.
    pub count: usize,
    /// Which, if the variable is absent: fixed, so that every run tries the same CRs.
    pub seed: usize,
}

impl Sweep {
    /// Judges every CR by its seed and number on all processors. Fails if one differs, or if most are refused.
    pub fn run(&self, judge: impl Fn(usize, usize) -> Verdict + Sync) {
        let number = |name: &str, otherwise| {
            env::var(name).map_or(otherwise, |text| text.parse::<usize>().expect(name))
        };
        let name = self.variable;
        let seed = number(&format!("{name}_SEED"), self.seed);
        let count = number(name, self.count);
        println!("{name}_SEED={seed} {name}={count}");
        let (next, equal) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let worker = || {
            let mut wrong = Vec::new();
            // Workers take numbers, so the CRs do not depend on their speed.
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return wrong;
                }
                match judge(seed, index) {
                    Verdict::Equal => _ = equal.fetch_add(1, Ordering::Relaxed),
                    Verdict::Refused => {}
                    Verdict::Different(why) => wrong.push(format!("CR {index}: {why}")),
                }
            }
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let wrong: Vec<String> = thread::scope(|scope| {
            let running: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            running
                .into_iter()
                .flat_map(|worker| worker.join().unwrap())
                .collect()
        });
        let equal = equal.into_inner();
        println!("equal: {equal}, different: {}", wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        assert!(3 * equal > count, "most CRs are refused");
    }
}
