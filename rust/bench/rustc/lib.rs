//! Nothing: its dependencies are what is compiled.
