//! Nothing: building its dependencies is what is measured.
