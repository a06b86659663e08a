// One global allocator, from another crate.
use carrel_checks_global as _;

fn main() {
    assert_eq!(vec![1, 2, 3].len(), 3);
    assert!(carrel_select::prove().holds());
}
