//! Nothing is called from here: this package exists for its Cargo.lock.
