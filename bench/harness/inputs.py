"""Generates the inputs of the real programs: an SMT problem, a database script, a Rust crate.

Everything follows from the size asked for, so a run can be repeated; nothing is downloaded.
"""

from __future__ import annotations


def smt_problem(size: int) -> str:
    """A pigeonhole problem and a chain of bit-vector arithmetic, both unsatisfiable."""
    lines = ["(set-logic QF_BV)", "(push 1)"]
    pigeons, holes = size + 1, size
    for p in range(pigeons):
        for h in range(holes):
            lines.append(f"(declare-const p{p}_{h} Bool)")
    for p in range(pigeons):
        lines.append("(assert (or " + " ".join(f"p{p}_{h}" for h in range(holes)) + "))")
    for h in range(holes):
        for p in range(pigeons):
            for q in range(p + 1, pigeons):
                lines.append(f"(assert (not (and p{p}_{h} p{q}_{h})))")
    lines += ["(check-sat)", "(pop 1)", "(push 1)"]
    terms = size * 40
    for i in range(terms):
        lines.append(f"(declare-const x{i} (_ BitVec 16))")
    for i in range(terms - 1):
        lines.append(f"(assert (= x{i + 1} (bvadd (bvmul x{i} #x0005) (bvxor x{i} #x{i:04x}))))")
    lines.append(f"(assert (= x0 #x0001))(assert (bvult x{terms - 1} x{terms - 1}))")
    lines += ["(check-sat)", "(pop 1)"]
    return "\n".join(lines) + "\n"


def sql_script(rows: int) -> str:
    """Fills an in-memory database and asks it questions that sort, join, group and concatenate."""
    return f"""
PRAGMA journal_mode = OFF;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, town TEXT, note TEXT);
CREATE TABLE trade(id INTEGER PRIMARY KEY, buyer INT, seller INT, amount INT, memo TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO person SELECT i, 'name ' || (i * 7919 % {rows}), 'town ' || (i % 97),
    substr('abcdefghijklmnopqrstuvwxyz', i % 20 + 1, i % 6 + 1) || i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows * 3})
  INSERT INTO trade SELECT i, i * 31 % {rows} + 1, i * 17 % {rows} + 1, i * 13 % 1000,
    'memo ' || (i % 1013) FROM n;
CREATE INDEX person_name ON person(name);
CREATE INDEX trade_buyer ON trade(buyer, amount);
SELECT town, count(*), sum(amount) FROM trade JOIN person ON person.id = buyer
  GROUP BY town ORDER BY 3 DESC, 1 LIMIT 20;
SELECT length(group_concat(upper(memo), ',')) FROM trade;
SELECT count(DISTINCT memo || town) FROM trade JOIN person ON person.id = seller;
SELECT name, note FROM person ORDER BY note || name, id LIMIT 10;
UPDATE person SET note = note || ' and ' || town WHERE id % 3 = 0;
SELECT sum(length(note)) FROM person;
DELETE FROM trade WHERE amount < 300;
SELECT count(*), max(memo) FROM trade;
"""


def rust_crate(modules: int) -> str:
    """A crate with traits, generics, closures and collections in many modules."""
    parts = ["#![crate_type = \"lib\"]", "#![allow(dead_code)]",
             "use std::collections::{BTreeMap, HashMap};", "use std::fmt::{Debug, Display};",
             "pub trait Shape: Debug { fn area(&self) -> f64; fn name(&self) -> String; }"]
    for n in range(modules):
        parts.append(f"""
pub mod m{n} {{
    use super::*;
    #[derive(Debug, Clone, PartialEq, Default)]
    pub struct Item{n}<T> {{ pub value: T, pub names: Vec<String>, pub map: HashMap<String, T> }}
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Kind{n} {{ Small(u32), Large {{ width: u64, height: u64 }}, None }}
    impl<T: Clone + Debug + Display> Item{n}<T> {{
        pub fn describe(&self) -> String {{
            self.names.iter().map(|name| format!("{{}}-{{}}", name, self.value))
                .filter(|text| text.len() > {n}).collect::<Vec<_>>().join(",")
        }}
        pub fn group<K: Ord + Clone>(&self, key: impl Fn(&str) -> K) -> BTreeMap<K, Vec<String>> {{
            let mut groups: BTreeMap<K, Vec<String>> = BTreeMap::new();
            for name in &self.names {{
                groups.entry(key(name)).or_default().push(name.clone());
            }}
            groups
        }}
    }}
    impl Shape for Kind{n} {{
        fn area(&self) -> f64 {{
            match *self {{
                Kind{n}::Small(side) => f64::from(side) * f64::from(side),
                Kind{n}::Large {{ width, height }} => width as f64 * height as f64,
                Kind{n}::None => 0.0,
            }}
        }}
        fn name(&self) -> String {{ format!("{{:?}}", self) }}
    }}
    pub fn total(shapes: &[Box<dyn Shape>]) -> Result<f64, Box<dyn std::error::Error>> {{
        let mut sum = 0.0;
        for shape in shapes {{
            let area: f64 = shape.area().to_string().parse()?;
            sum += area;
        }}
        Ok(sum + {n} as f64)
    }}
}}""")
    return "\n".join(parts) + "\n"
