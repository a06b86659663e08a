//! Records of many kinds behind one trait: a macro makes a type, its text form and its parser for
//! each, so that the compiler has much to expand and to instantiate.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

pub trait Record: Debug {
    fn kind(&self) -> &'static str;
    fn weight(&self) -> usize;
    fn encode(&self) -> String;
}

macro_rules! records {
    ($($name:ident { $($field:ident : $type:ty),+ }),+ $(,)?) => {
        $(
            #[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
            pub struct $name { $(pub $field: $type),+ }

            impl Record for $name {
                fn kind(&self) -> &'static str { stringify!($name) }
                fn weight(&self) -> usize { 0 $(+ format!("{:?}", self.$field).len())+ }
                fn encode(&self) -> String {
                    let mut parts = Vec::new();
                    $(parts.push(format!("{}={:?}", stringify!($field), self.$field));)+
                    format!("{}[{}]", self.kind(), parts.join(";"))
                }
            }

            impl From<u32> for $name {
                fn from(seed: u32) -> Self {
                    let mut made = Self::default();
                    $(fill(&mut made.$field, seed);)+
                    made
                }
            }
        )+

        /// One record of every kind.
        pub fn one_of_each(seed: u32) -> Vec<Box<dyn Record>> {
            vec![$(Box::new($name::from(seed))),+]
        }
    };
}

trait Fill {
    fn fill(&mut self, seed: u32);
}

fn fill<T: Fill>(target: &mut T, seed: u32) {
    target.fill(seed);
}

macro_rules! fill_numbers {
    ($($type:ty),+) => { $(impl Fill for $type {
        fn fill(&mut self, seed: u32) { *self = (seed % 97) as $type; }
    })+ };
}
fill_numbers!(i32, i64, u8, u16, u64, f32, f64, usize);

impl Fill for String {
    fn fill(&mut self, seed: u32) {
        *self = (0..seed % 40)
            .map(|i| char::from(b'a' + ((seed + i) % 26) as u8))
            .collect();
    }
}

impl<T: Fill + Default> Fill for Vec<T> {
    fn fill(&mut self, seed: u32) {
        *self = (0..seed % 7).map(|i| made(seed + i)).collect();
    }
}

impl<T: Fill + Default> Fill for Option<T> {
    fn fill(&mut self, seed: u32) {
        *self = (seed % 3 != 0).then(|| made(seed / 3));
    }
}

impl<K: Fill + Default + Ord, V: Fill + Default> Fill for BTreeMap<K, V> {
    fn fill(&mut self, seed: u32) {
        *self = (0..seed % 5)
            .map(|i| (made(seed * 3 + i), made(seed + i)))
            .collect();
    }
}

impl<T: Fill + Default + Ord> Fill for BTreeSet<T> {
    fn fill(&mut self, seed: u32) {
        *self = (0..seed % 9).map(|i| made(seed * i)).collect();
    }
}

impl<T: Fill + Default> Fill for VecDeque<T> {
    fn fill(&mut self, seed: u32) {
        *self = (0..seed % 6).map(|i| made(seed ^ i)).collect();
    }
}

fn made<T: Fill + Default>(seed: u32) -> T {
    let mut value = T::default();
    value.fill(seed);
    value
}

records! {
    Account { number: u64, owner: String, limits: Vec<i64> },
    Book { title: String, authors: Vec<String>, year: Option<u16> },
    City { name: String, streets: BTreeMap<String, u64>, position: Vec<f64> },
    Device { serial: u64, readings: VecDeque<f32>, tags: BTreeSet<String> },
    Event { at: i64, notes: Option<String>, guests: Vec<Option<String>> },
    File { path: String, bytes: Vec<u8>, attributes: BTreeMap<String, String> },
    Graph { edges: BTreeMap<u64, Vec<u64>>, names: Vec<String> },
    House { rooms: Vec<Vec<i32>>, owner: Option<Option<String>> },
    Item { price: f64, stock: i32, shelves: BTreeSet<u16> },
    Journal { pages: VecDeque<String>, index: BTreeMap<String, Vec<usize>> },
    Kernel { version: Vec<u8>, modules: BTreeMap<String, Option<u64>> },
    Letter { from: String, to: Vec<String>, text: VecDeque<Vec<u8>> },
}

/// A shared store, changed by several threads; its content does not depend on their order.
pub fn fill_store(threads: u32, each: u32) -> Vec<String> {
    let store: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for seed in 0..each {
                    for record in one_of_each(seed * threads + thread) {
                        let mut open = store.lock().unwrap();
                        *open.entry(record.encode()).or_default() += record.weight();
                    }
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let shared = Rc::new(store.lock().unwrap().clone());
    let mut lines: Vec<String> = shared
        .iter()
        .map(|(key, sum)| format!("{key} {sum}"))
        .collect();
    lines.sort_unstable();
    lines
}
