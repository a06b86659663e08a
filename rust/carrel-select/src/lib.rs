//! Chooses a program's global allocator by a Cargo feature.
//!
//! ```
//! carrel_select::global!();
//!
//! fn main() {
//!     let proof = carrel_select::prove();
//!     println!("{proof}");
//!     assert!(proof.holds());
//! }
//! ```
//!
//! The program is then built with `--features carrel-select/carrel`, or `/carrel-secure`,
//! `/mimalloc`, `/jemalloc`, `/system`; with none of them the system's allocator stays. Asking for
//! two is a compile error that says which two. A program that offers the choice to its own users
//! forwards the features:
//!
//! ```toml
//! [features]
//! carrel = ["carrel-select/carrel"]
//! mimalloc = ["carrel-select/mimalloc"]
//! ```

use std::fmt;

mod guard;
mod proof;

pub use proof::prove;

// The first that is asked for; if there are more, guard.rs ends the compilation.
#[cfg(any(feature = "carrel", feature = "carrel-secure"))]
mod chosen {
    pub type Selected = carrel::Carrel;
    pub const SELECTED: Selected = carrel::Carrel;
    pub const NAME: &str = match (carrel::SUPPORTED, carrel::SECURE) {
        (false, _) => "system",
        (true, false) => "carrel",
        (true, true) => "carrel-secure", // also if another crate asks for carrel's feature secure
    };
}
#[cfg(all(feature = "mimalloc", not(any(feature = "carrel", feature = "carrel-secure"))))]
mod chosen {
    pub type Selected = mimalloc::MiMalloc;
    pub const SELECTED: Selected = mimalloc::MiMalloc;
    pub const NAME: &str = "mimalloc";
}
#[cfg(all(
    feature = "jemalloc",
    not(target_env = "msvc"),
    not(any(feature = "carrel", feature = "carrel-secure", feature = "mimalloc"))
))]
mod chosen {
    pub type Selected = tikv_jemallocator::Jemalloc;
    pub const SELECTED: Selected = tikv_jemallocator::Jemalloc;
    pub const NAME: &str = "jemalloc";
}
#[cfg(not(any(
    feature = "carrel",
    feature = "carrel-secure",
    feature = "mimalloc",
    all(feature = "jemalloc", not(target_env = "msvc"))
)))]
mod chosen {
    pub type Selected = std::alloc::System;
    pub const SELECTED: Selected = std::alloc::System;
    pub const NAME: &str = "system";
}

/// The chosen allocator's type.
pub type Selected = chosen::Selected;

/// The chosen allocator.
pub const SELECTED: Selected = chosen::SELECTED;

/// The chosen allocator: "carrel", "carrel-secure", "mimalloc", "jemalloc" or "system". It is
/// "system" too where carrel was asked for on a target that it does not support. What it says holds
/// only if the program has `global!()`; [`prove`] finds out.
pub const NAME: &str = chosen::NAME;

/// Makes the chosen allocator the program's global one. Once in a program, in any module of any of
/// its crates.
#[macro_export]
macro_rules! global {
    () => {
        #[global_allocator]
        static CARREL_SELECT_GLOBAL: $crate::Selected = $crate::SELECTED;
    };
}

/// Who was found to serve the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The allocator that this crate was built with; its name.
    Chosen(&'static str),
    /// The C library's malloc, from the file named: libc's own, or what was preloaded in its place.
    System {
        /// The file that the process's malloc comes from, where that can be told.
        library: Option<String>,
    },
    /// An allocator that this crate does not know: the program has a global allocator of its own.
    Unknown,
}

/// What [`prove`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who was chosen: [`NAME`].
    pub chosen: &'static str,
    /// Who serves.
    pub serving: Serving,
}

impl Proof {
    /// Whether the chosen allocator is the one that serves.
    pub fn holds(&self) -> bool {
        match self.serving {
            Serving::Chosen(_) => true,
            Serving::System { .. } => self.chosen == "system",
            Serving::Unknown => false,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remark =
            if self.holds() { "as chosen" } else { "not as chosen: is global!() missing?" };
        match &self.serving {
            Serving::Chosen(name) => write!(f, "{name} serves, {remark}"),
            Serving::System { library: Some(file) } => {
                write!(f, "system serves ({file}), {remark}")
            }
            Serving::System { library: None } => write!(f, "system serves, {remark}"),
            Serving::Unknown => {
                write!(f, "an unknown allocator serves, {} was chosen", self.chosen)
            }
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
