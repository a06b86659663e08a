//! The crate that the shipped rustc compiles: an expression language with a parser, folding and
//! an evaluator, generic containers, traits, closures, macros that expand to many functions,
//! and formatted output. Its program (main.rs) prints digests. It needs the standard library alone.

pub mod expression;
pub mod store;
pub mod table;

/// A digest that does not depend on addresses or on a random hash seed.
pub fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// A small generator of numbers, so that the crate needs no other.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
