//! A generic ordered table on a vector, with iterator adaptors and const generics.

use std::borrow::Borrow;
use std::cmp::Ordering;

#[derive(Clone, Debug, Default)]
pub struct Table<K, V> {
    rows: Vec<(K, V)>,
}

impl<K: Ord, V> Table<K, V> {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.rows.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut self.rows[at].1, value)),
            Err(at) => {
                self.rows.insert(at, (key, value));
                None
            }
        }
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let found = self
            .rows
            .binary_search_by(|(k, _)| k.borrow().cmp(key))
            .ok()?;
        Some(&self.rows[found].1)
    }

    pub fn merge_with(self, other: Self, mut join: impl FnMut(V, V) -> V) -> Self {
        let (mut left, mut right) = (
            self.rows.into_iter().peekable(),
            other.rows.into_iter().peekable(),
        );
        let mut rows = Vec::with_capacity(left.len() + right.len());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Self { rows },
            };
            match order {
                Ordering::Less => rows.extend(left.next()),
                Ordering::Greater => rows.extend(right.next()),
                Ordering::Equal => {
                    if let (Some((key, a)), Some((_, b))) = (left.next(), right.next()) {
                        rows.push((key, join(a, b)));
                    }
                }
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        self.rows.iter().map(|(key, value)| (key, value))
    }
}

/// Matrices of a fixed size: the compiler makes one instance of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix<const N: usize>(pub [[i64; N]; N]);

impl<const N: usize> Matrix<N> {
    pub fn counting() -> Self {
        Self(std::array::from_fn(|r| {
            std::array::from_fn(|c| (r * N + c) as i64 % 7)
        }))
    }

    pub fn multiply(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|r| {
            std::array::from_fn(|c| {
                (0..N)
                    .map(|k| self.0[r][k].wrapping_mul(other.0[k][c]))
                    .sum()
            })
        }))
    }

    pub fn power(self, exponent: u32) -> i64 {
        (1..exponent)
            .fold(self, |product, _| product.multiply(&self))
            .0
            .iter()
            .flatten()
            .sum()
    }
}
