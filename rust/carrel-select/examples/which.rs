//! Prints which allocator serves the program; exits with 1 if it is not the one that was chosen:
//!
//!     cargo run --example which --features carrel

carrel_select::global!();

fn main() {
    let proof = carrel_select::prove();
    println!("{}: {proof}", carrel_select::NAME);
    std::process::exit(if proof.holds() { 0 } else { 1 });
}
