// A library chose already.
use carrel_checks_global as _;

#[global_allocator]
static GLOBAL: carrel::Carrel = carrel::Carrel;

fn main() {}
