//! What Rust programs do with memory, measured by criterion: boxes, vectors, strings, maps, trees,
//! shared values and channels between threads, JSON. Every group is one kind of use; the allocator
//! is the program's, chosen when it was built.
//!
//! The measure is the process's processor time, which a busy machine disturbs less than wall time
//! and which threads cannot hide from; what several threads do is measured in wall time too, as
//! groups whose names end in `_wall`.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{criterion_group, criterion_main, Criterion};

/// The processor time of all threads of the process, in user and in kernel mode.
struct ProcessTime;

impl Measurement for ProcessTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the structure.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
        assert_eq!(status, 0, "no clock of processor time");
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
    fn end(&self, started: Duration) -> Duration {
        self.start() - started
    }
    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// A small generator of numbers: the same on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }
}

fn vectors(c: &mut Criterion<ProcessTime>) {
    c.bench_function("vec/grow", |b| {
        b.iter(|| {
            let mut numbers = Vec::new();
            for n in 0..20_000u64 {
                numbers.push(n);
            }
            black_box(numbers)
        })
    });
    c.bench_function("vec/of_vecs", |b| {
        b.iter(|| (0..500usize).map(|n| vec![n as u8; n * 4]).collect::<Vec<_>>())
    });
}

fn boxes(c: &mut Criterion<ProcessTime>) {
    c.bench_function("box/one", |b| b.iter(|| black_box(Box::new([1u64; 8]))));
    let mut random = Numbers(88_172_645_463_325_252);
    let mut live: Vec<Box<[u8]>> = (0..20_000).map(|n| vec![0; 16 + n % 200].into()).collect();
    c.bench_function("box/churn", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                let index = random.next() % live.len();
                live[index] = vec![1u8; 16 + random.next() % 240].into();
            }
        })
    });
}

fn strings(c: &mut Criterion<ProcessTime>) {
    c.bench_function("string/storm", |b| {
        b.iter(|| {
            let mut length = 0;
            for n in 0..1000u32 {
                let text = format!("item {n}");
                length += text.to_uppercase().len() + text.replace("item", "thing").len();
            }
            length
        })
    });
    c.bench_function("string/concat", |b| {
        b.iter(|| {
            let mut text = String::new();
            for _ in 0..5000 {
                text += "a few more bytes ";
            }
            text
        })
    });
}

fn maps(c: &mut Criterion<ProcessTime>) {
    c.bench_function("hashmap/strings", |b| {
        b.iter(|| {
            let mut map: HashMap<String, Vec<u8>> = HashMap::new();
            for n in 0..2000usize {
                map.insert(format!("key {n}"), vec![n as u8; n % 300]);
            }
            map.retain(|_, value| value.len() % 2 == 0);
            map
        })
    });
    c.bench_function("btreemap/strings", |b| {
        b.iter(|| {
            let mut map = BTreeMap::new();
            for n in 0..2000usize {
                map.insert(n.wrapping_mul(2_654_435_761) % 4096, n.to_string());
            }
            for n in (0..4096).step_by(3) {
                map.remove(&n);
            }
            map
        })
    });
}

fn threads(c: &mut Criterion<ProcessTime>) {
    threads_by(c, "");
}

fn threads_wall(c: &mut Criterion) {
    threads_by(c, "_wall");
}

fn threads_by<Measure: Measurement + 'static>(c: &mut Criterion<Measure>, kind: &str) {
    c.bench_function(&format!("arc{kind}/across_threads"), |b| {
        b.iter(|| {
            let shared: Vec<Arc<String>> = (0..500).map(|n| Arc::new(n.to_string())).collect();
            let workers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || shared.iter().map(|text| text.len()).sum::<usize>())
                })
                .collect();
            drop(shared);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
        })
    });
    c.bench_function(&format!("channel{kind}/boxes"), |b| {
        b.iter(|| {
            let (send, receive) = mpsc::sync_channel::<Box<[u8]>>(256);
            let consumer = thread::spawn(move || receive.iter().map(|b| b.len()).sum::<usize>());
            for n in 0..5000usize {
                send.send(vec![0u8; 32 + n % 200].into()).unwrap();
            }
            drop(send);
            consumer.join().unwrap()
        })
    });
}

fn json(c: &mut Criterion<ProcessTime>) {
    let text = {
        let items: Vec<_> = (0..300)
            .map(|n| {
                serde_json::json!({"id": n, "name": format!("item {n}"), "tags": ["a", "b", "c"],
                    "nested": {"x": n as f64 / 3.0, "y": [n, n + 1], "text": "some more text"}})
            })
            .collect();
        serde_json::to_string(&items).unwrap()
    };
    c.bench_function("json/parse_and_print", |b| {
        b.iter(|| {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            serde_json::to_string(&value).unwrap().len()
        })
    });
}

fn who(_: &mut Criterion) {
    println!("allocator: {}", carrel_micro::allocator());
}

criterion_group! {
    name = processor;
    config = Criterion::default().with_measurement(ProcessTime);
    targets = vectors, boxes, strings, maps, threads, json
}
criterion_group!(wall, who, threads_wall);
criterion_main!(wall, processor);
