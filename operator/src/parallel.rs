//! Runs work on several threads.

use std::iter;
use std::panic::resume_unwind;
use std::thread;

/// The results of `work` for every item, in the order of the items. `threads` is the number of threads, one of which is the
/// caller's. Each takes every `threads`-th item.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.clamp(1, items.len().max(1));
    let turns = |first| {
        let mine = items.iter().skip(first).step_by(threads);
        mine.map(&work).collect::<Vec<_>>()
    };
    let shares = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|first| scope.spawn(move || turns(first)))
            .collect();
        let mut shares = vec![turns(0)];
        for other in others {
            shares.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        shares
    });
    let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
    let mut turn = (0..threads).cycle();
    iter::from_fn(|| shares[turn.next()?].next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        for threads in [0, 1, 2, 3, 9] {
            for count in [0, 1, 4, 5] {
                let items: Vec<usize> = (0..count).collect();
                assert_eq!(in_parallel(&items, threads, |item| *item), items);
            }
        }
    }
}
