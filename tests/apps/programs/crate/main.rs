//! The program of the crate: uses every part of it and prints digests.

use std::collections::BTreeMap;

use carrel_test_crate::expression::Parser;
use carrel_test_crate::table::{Matrix, Table};
use carrel_test_crate::{digest, store, Random};

fn expressions() -> u64 {
    let mut random = Random(5);
    let names: BTreeMap<String, i64> = (0..9).map(|i| (format!("n{i}"), i * i)).collect();
    let mut texts: Vec<String> = (0..9).map(|i| format!("n{i}")).collect();
    let mut seen = String::new();
    for i in 0..3000 {
        let (a, b) = (random.below(texts.len()), random.below(texts.len()));
        let made = match i % 4 {
            0 => format!("({} + {}) % {}", texts[a], texts[b], 1 + random.below(500)),
            1 => format!("-{} * ({} - 7)", texts[a], texts[b]),
            2 => format!("max({}, {}, {i})", texts[a], texts[b]),
            _ => format!("sum({}, 2 * 3 + 4, {})", texts[a], texts[b]),
        };
        let parsed = Parser::parse(&made)
            .expect("a sentence of the language")
            .fold();
        seen += &format!("{parsed} = {}\n", parsed.evaluate(&names));
        let slot = random.below(60);
        if made.len() < 2000 {
            if slot < texts.len() {
                texts[slot] = made
            } else {
                texts.push(made)
            }
        }
    }
    assert!(Parser::parse("1 + * 2").is_err() && Parser::parse("(1").is_err());
    digest(seen.bytes())
}

fn tables() -> u64 {
    let mut random = Random(6);
    let mut tables: Vec<Table<String, usize>> = vec![Table::new(); 8];
    for i in 0..20_000 {
        tables[i % 8].insert(format!("key {}", random.below(4000)), i);
    }
    let merged = tables
        .into_iter()
        .reduce(|a, b| a.merge_with(b, |x, y| x ^ y))
        .unwrap();
    assert_eq!(merged.get("no such key"), None);
    digest(
        merged
            .iter()
            .flat_map(|(key, value)| format!("{key}:{value},").into_bytes()),
    )
}

fn main() {
    println!("expressions {:016x}", expressions());
    println!("tables {:016x}", tables());
    let lines = store::fill_store(4, 60);
    println!(
        "store {} {:016x}",
        lines.len(),
        digest(lines.join("\n").into_bytes())
    );
    println!(
        "matrices {} {} {}",
        Matrix::<3>::counting().power(9),
        Matrix::<5>::counting().power(7),
        Matrix::<8>::counting().power(5)
    );
}
