//! A library with a global allocator: a program that has one too must not compile.

carrel_select::global!();
