//! Nothing is called from Rust here. This package exists so that Cargo.lock pins the engines whose
//! sources build.py compiles into preloadable libraries.
