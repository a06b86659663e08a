//! carrel's C API for Rust, with carrel itself compiled in.
//!
//! This crate declares; it adds no safety and no convenience. Programs want the `carrel` crate,
//! whose `Carrel` is a `GlobalAlloc`. The declarations are those of `carrel/carrel.h`, which
//! explains each in full; a test compares the two.
//!
//! All sizes are in bytes. Every function may be called from any thread at any time, but not from
//! a signal handler. Exhaustion is a null pointer with `errno` set to `ENOMEM`. Misuse of memory
//! that is noticed (a double free, a pointer that was never carrel's) ends the process with one
//! line on standard error.
//!
//! # Building
//!
//! A C++20 compiler is needed (GCC 12 and Clang 19 or later are known to do), no C++ library at run
//! time. `CARREL_LIB_DIR` names the folder of an installed `libcarrel-prefixed.a` (with the feature
//! `override`: `libcarrel.a`) to use instead; `CARREL_INCLUDE_DIR` its headers, where they are not
//! found nearby. Build scripts of crates that depend on this one find carrel's headers in
//! `DEP_CARREL_INCLUDE`.
//!
//! # Features
//!
//! - `override`: also define `malloc`, `operator new` and their like, so that C and C++ code in the
//!   same binary uses the same heap.
//! - `secure`: the hardened build of carrel instead of the default one.
//! - `local-dynamic-tls`: for a `cdylib` that is loaded by `dlopen`; see docs/RUST.md.
//! - `strict-target`: an unsupported target is a compile error.
//!
//! On targets that carrel does not support (anything but 64-bit Linux on x86-64 and aarch64), and
//! under Miri, the crate is empty: [`SUPPORTED`] says so.
#![no_std]

/// Whether this crate has any functions on the target it is compiled for.
pub const SUPPORTED: bool = cfg!(carrel_supported); // see is_supported() in build.rs

/// Whether the hardened build is compiled in: the feature `secure`.
pub const SECURE: bool = SUPPORTED && cfg!(feature = "secure");

mod guard;

#[cfg(carrel_supported)]
mod arenas;
#[cfg(carrel_supported)]
pub use arenas::*;
#[cfg(carrel_supported)]
mod bindings;
#[cfg(carrel_supported)]
pub use bindings::*;
#[cfg(carrel_supported)]
mod budgets;
#[cfg(carrel_supported)]
pub use budgets::*;
#[cfg(carrel_supported)]
mod control;
#[cfg(carrel_supported)]
pub use control::*;

#[cfg(carrel_supported)]
mod profile;
#[cfg(carrel_supported)]
pub use profile::*;

#[cfg(carrel_supported)]
mod samples;
#[cfg(carrel_supported)]
pub use samples::*;

#[cfg(carrel_supported)]
mod shortages;
#[cfg(carrel_supported)]
pub use shortages::*;

#[cfg(all(carrel_supported, feature = "override"))]
mod overrides;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
