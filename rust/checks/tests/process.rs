//! carrel as the global allocator of a process that has threads, forks and collections of all
//! kinds; and carrel's functions beside the trait.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;

use carrel::Carrel;
use carrel_checks::Block;

#[global_allocator]
static GLOBAL: Carrel = Carrel;

#[test]
fn the_global_allocator_is_carrel() {
    assert_eq!(carrel::SECURE, cfg!(feature = "secure"));
    let text = String::from("on carrel's heap");
    assert_eq!(carrel::owns(text.as_ptr()), Some(true));
    let large = vec![1u8; 10 << 20];
    assert_eq!(carrel::owns(large.as_ptr()), Some(true));
    assert_eq!(
        carrel::owns(&raw const large[100_000]),
        Some(false),
        "as documented: only its start"
    );
    let on_the_stack = 1;
    assert_eq!(carrel::owns(&raw const on_the_stack as *const u8), Some(false));
    assert_eq!(carrel::owns(std::ptr::null()), Some(false));
    // SAFETY: libc's own block, given back to libc.
    unsafe {
        let foreign = libc::malloc(100);
        assert_eq!(carrel::owns(foreign.cast()), Some(false));
        libc::free(foreign);
    }
}

#[test]
fn sizes_and_version() {
    assert_eq!(carrel::version(), "0.1.0");
    for size in [1usize, 17, 1000, 5000, 40_000, 5 << 20] {
        let good = carrel::good_size(size);
        let block: Vec<u8> = Vec::with_capacity(size);
        // SAFETY: a live block of carrel's, which is the global allocator.
        assert_eq!(unsafe { carrel::usable_size(block.as_ptr()) }, good, "{size}");
        assert!(good >= size);
    }
    assert!(carrel::set_option(c"decay_ms", c"400").is_ok());
    assert_eq!(carrel::set_option(c"decay_ms", c"soon"), Err(carrel::OptionError));
    assert_eq!(carrel::set_option(c"nonsense", c"1"), Err(carrel::OptionError));
}

#[test]
fn purge_gives_memory_back() {
    let blocks: Vec<Vec<u8>> = (0..4000).map(|n| vec![n as u8; 8000]).collect();
    assert_eq!(blocks.iter().map(Vec::len).sum::<usize>(), 32_000_000);
    drop(blocks);
    // Other tests purge too, and the helper thread may have been faster: some is enough.
    let more: Vec<Vec<u8>> = (0..4000).map(|n| vec![n as u8; 8000]).collect();
    drop(more);
    assert!(carrel::purge() > 0);
}

#[test]
fn blocks_travel_between_threads() {
    let (to_worker, jobs) = mpsc::sync_channel::<Vec<Block>>(4);
    let (to_main, results) = mpsc::sync_channel::<Vec<Block>>(4);
    let worker = thread::spawn(move || {
        for mut blocks in jobs {
            for block in &mut blocks {
                let size = 1 + block.address() as usize / 16 % 3000;
                block.resize(std::alloc::Layout::from_size_align(size, 8).unwrap());
            }
            if to_main.send(blocks).is_err() {
                break;
            }
        }
    });
    for round in 0..200usize {
        let blocks = (0..50usize)
            .map(|n| {
                let layout = std::alloc::Layout::from_size_align(1 + n * round % 2000, 8).unwrap();
                Block::new(layout, n % 3 == 0, n as u8)
            })
            .collect();
        to_worker.send(blocks).unwrap();
        if round >= 2 {
            results.recv().unwrap(); // freed here, where they were not resized
        }
    }
    drop(to_worker);
    drop(results);
    worker.join().unwrap();
}

#[test]
fn threads_that_end_leave_their_blocks_whole() {
    for _ in 0..20 {
        let workers: Vec<_> = (0..8usize)
            .map(|n| {
                thread::spawn(move || -> HashMap<String, Vec<u8>> {
                    (0..200).map(|i| (format!("{n}/{i}"), vec![n as u8; i])).collect()
                })
            })
            .collect();
        for (n, worker) in workers.into_iter().enumerate() {
            let map = worker.join().unwrap();
            assert_eq!(map.len(), 200);
            assert_eq!(map[&format!("{n}/150")], vec![n as u8; 150]);
        }
    }
}

/// Destructors of thread-locals run when carrel has already taken the thread's cache back.
#[test]
fn thread_local_destructors_may_allocate() {
    struct Late(String);
    impl Drop for Late {
        fn drop(&mut self) {
            let copies: Vec<String> = (0..100).map(|n| format!("{} {n}", self.0)).collect();
            assert_eq!(copies[99], "late 99");
        }
    }
    thread_local! { static LATE: Late = Late("late".into()); }
    for _ in 0..50 {
        thread::spawn(|| LATE.with(|late| assert_eq!(late.0.len(), 4))).join().unwrap();
    }
}

#[test]
fn a_forked_child_has_a_whole_heap() {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let churn = {
        let stop = stop.clone();
        thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let tree: BTreeMap<u32, String> = (0..300).map(|n| (n, n.to_string())).collect();
                assert_eq!(tree[&250], "250");
            }
        })
    };
    let before: Vec<String> = (0..1000).map(|n| format!("before {n}")).collect();
    for _ in 0..30 {
        // SAFETY: the child calls only the allocator, which promises to work there, and _exit.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                let after: Vec<String> = (0..1000).map(|n| format!("after {n}")).collect();
                let whole = before[999] == "before 999" && after[999] == "after 999";
                drop(after);
                libc::_exit(if whole { 0 } else { 1 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0, "the child failed");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.join().unwrap();
}

#[test]
fn sample_hooks_hear_of_allocations_and_frees() {
    use carrel::{Sample, SampleEvent, SampleHook, SampleHookError};
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static ALLOCATED: AtomicU64 = AtomicU64::new(0);
    static FREED: AtomicU64 = AtomicU64::new(0);
    fn hook(sample: &Sample) {
        let _unsampled = vec![1u8; 10_000];
        assert!(sample.usable_size >= sample.size && !sample.block.is_null());
        let sum = if sample.event == SampleEvent::Freed { &FREED } else { &ALLOCATED };
        sum.fetch_add(sample.weight_bytes, Relaxed);
    }
    let added = SampleHook::new(hook, 1024, true);
    if carrel::SECURE {
        assert_eq!(added.err(), Some(SampleHookError::Unavailable));
        return;
    }
    let added = added.unwrap();
    assert_eq!(SampleHook::new(hook, 1024, true).err(), Some(SampleHookError::AlreadyThere));
    fn other(_: &Sample) {}
    assert_eq!(SampleHook::new(other, 1 << 41, false).err(), Some(SampleHookError::OutOfRange));
    let blocks: Vec<Vec<u8>> = (0..100_000).map(|_| vec![0u8; 200]).collect();
    let allocated = ALLOCATED.load(Relaxed) as f64;
    // 5.7 standard errors, and what other tests allocate meanwhile on top.
    assert!(allocated > 20_000_000.0 - 800_000.0, "{allocated}");
    drop(blocks);
    assert!(FREED.load(Relaxed) as f64 > 20_000_000.0 - 800_000.0);
    drop(added);
    let before = ALLOCATED.load(Relaxed);
    drop((0..100_000).map(|_| vec![0u8; 200]).collect::<Vec<_>>());
    assert_eq!(ALLOCATED.load(Relaxed), before);
}

#[test]
fn budgets_bound_what_a_scope_allocates() {
    use carrel::{Budget, BudgetError};

    thread::spawn(|| {
        assert_eq!(Budget::new(usize::MAX).err(), Some(BudgetError::OutOfRange));
        let outer = Budget::new(1 << 20).unwrap();
        let mut bytes = Vec::<u8>::new();
        assert!(bytes.try_reserve_exact(2 << 20).is_err());
        bytes.try_reserve_exact(300 << 10).unwrap();
        {
            let inner = Budget::new(100 << 10).unwrap();
            let mut more = Vec::<u64>::new();
            assert!(more.try_reserve_exact(20_000).is_err());
            more.try_reserve_exact(10_000).unwrap();
            assert!(inner.stats().used_bytes >= 80_000);
            assert_eq!(inner.stats().refusals, 1);
        }
        assert!(outer.stats().peak_bytes >= (300 << 10) + 80_000);
        assert!(bytes.try_reserve_exact(2 << 20).is_err());
        bytes.try_reserve_exact(600 << 10).unwrap();
        drop(bytes);
        assert_eq!(outer.stats().used_bytes, 0);
        assert_eq!(outer.stats().refusals, 2);
        drop(outer);
        assert!(Vec::<u8>::new().try_reserve_exact(4 << 20).is_ok());
    })
    .join()
    .unwrap();
}
