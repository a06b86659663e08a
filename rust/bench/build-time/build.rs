//! Builds nothing itself.

fn main() {}
