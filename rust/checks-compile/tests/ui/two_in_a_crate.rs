// carrel twice: once by hand, once by choice.
#[global_allocator]
static GLOBAL: carrel::Carrel = carrel::Carrel;

carrel_select::global!();

fn main() {}
