//! Allocates what it says, in sizes that nothing else uses: `carrel-checks-hook THREADS ROUNDS`.
//! tests/rust/hook.py records it and counts.

use std::alloc::{alloc, dealloc, Layout};
use std::env;
use std::hint::black_box;
use std::thread;

use carrel_hook::Recorded;

#[cfg(feature = "carrel")]
#[global_allocator]
static GLOBAL: Recorded<carrel::Carrel> = Recorded::new(carrel::Carrel);
#[cfg(not(feature = "carrel"))]
#[global_allocator]
static GLOBAL: Recorded<std::alloc::System> = Recorded::new(std::alloc::System);

const HANDED: usize = 100_003; // the main thread frees these
const ZEROED: usize = 7 * 1_009;
const GROWN_FROM: usize = 333;
const GROWN_TO: usize = 33_331;
const ALIGNED: usize = 5_557;

fn work(rounds: usize) -> Vec<Vec<u8>> {
    let mut handed = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        handed.push(black_box(Vec::with_capacity(HANDED)));
        drop(black_box(vec![0_u8; ZEROED]));
        let mut grown: Vec<u8> = black_box(Vec::with_capacity(GROWN_FROM));
        grown.reserve_exact(GROWN_TO);
        drop(black_box(grown));
        let layout = Layout::from_size_align(ALIGNED, 256).expect("a power of two");
        // SAFETY: the layout has a size; the block is given back with the same one.
        unsafe {
            let block = black_box(alloc(layout));
            assert_eq!(block as usize % 256, 0);
            dealloc(block, layout);
        }
    }
    handed
}

fn main() {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<usize>().expect("a number"));
    let (threads, rounds) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(100));
    let workers: Vec<_> = (0..threads).map(|_| thread::spawn(move || work(rounds))).collect();
    for worker in workers {
        drop(worker.join().expect("no panic"));
    }
    std::process::exit(17);
}
