//! What generated.py puts at the top of the crate that it writes: what all of its types can do. Not
//! compiled by itself.
#![allow(warnings)]
use std::collections::{BTreeMap, HashMap};

/// What every type here can do.
pub trait Weigh {
    fn weigh(&self) -> u64;
}
macro_rules! weigh_number {
    ($($name:ty),*) => {$(
        impl Weigh for $name {
            fn weigh(&self) -> u64 {
                *self as u64
            }
        }
    )*};
}
weigh_number!(u8, u16, u32, u64, i32, i64, usize, bool, char);
impl Weigh for String {
    fn weigh(&self) -> u64 {
        self.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    }
}
impl<T: Weigh> Weigh for Vec<T> {
    fn weigh(&self) -> u64 {
        self.iter().map(Weigh::weigh).fold(1, u64::wrapping_add)
    }
}
impl<T: Weigh> Weigh for Option<T> {
    fn weigh(&self) -> u64 {
        self.as_ref().map_or(0, Weigh::weigh)
    }
}
impl<T: Weigh + ?Sized> Weigh for Box<T> {
    fn weigh(&self) -> u64 {
        (**self).weigh()
    }
}
impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn weigh(&self) -> u64 {
        self.0.weigh().rotate_left(9) ^ self.1.weigh()
    }
}
impl<K, V: Weigh> Weigh for BTreeMap<K, V> {
    fn weigh(&self) -> u64 {
        self.values().map(Weigh::weigh).max().unwrap_or(3)
    }
}
/// An array's elements, each changed if it is there.
pub trait Each<T, const N: usize> {
    fn each<U>(&self, change: &mut dyn FnMut(&T) -> U) -> [Option<U>; N];
}
impl<T, const N: usize> Each<T, N> for [Option<T>; N] {
    fn each<U>(&self, change: &mut dyn FnMut(&T) -> U) -> [Option<U>; N] {
        std::array::from_fn(|at| self[at].as_ref().map(|item| change(item)))
    }
}
impl<K, V: Weigh> Weigh for HashMap<K, V> {
    fn weigh(&self) -> u64 {
        self.values().map(Weigh::weigh).min().unwrap_or(5)
    }
}
