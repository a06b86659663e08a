// The macro is for once in a program.
mod part {
    carrel_select::global!();
}
carrel_select::global!();

fn main() {}
