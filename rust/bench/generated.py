"""generated: writes a large Rust crate for the compiler to chew on, the same one every time.

Modules of records, enums, traits with associated types, const generics, iterators with lifetimes,
parsers, expression trees, closures behind dyn, macros and plain arithmetic, whose sizes, names,
types and bodies are drawn from a seed; later modules use the types and functions of earlier ones.
It uses the standard library alone. It is never run: that its results mean something is not
attempted.

    generated.py FOLDER [--lines N] [--seed N]     writes FOLDER/Cargo.toml and FOLDER/src
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

NOUNS = ("order", "parcel", "ledger", "route", "signal", "vessel", "meter", "sample", "branch",
         "token", "frame", "socket", "harbor", "engine", "widget", "report", "column", "packet",
         "garden", "mirror", "bridge", "ticket", "anchor", "canvas", "lantern", "valley")
ADJECTIVES = ("open", "late", "round", "quiet", "amber", "plain", "steep", "early", "outer",
              "inner", "brief",
              "broad", "final", "fresh", "heavy", "loose", "minor", "rapid", "solid")
NUMBERS = ("u8", "u16", "u32", "u64", "i32", "i64", "usize")
PLAIN = (*NUMBERS, "bool", "char", "String")

ROOT = Path(__file__).with_name("generated_root.rs").read_text(encoding="utf-8")

MANIFEST = """[package]
name = "generated"
version = "0.0.0"
edition = "2021"
publish = false

[workspace]
"""


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


class Module:
    """One module's text, drawn from the crate's random numbers."""

    def __init__(self, number: int, crate: Crate) -> None:
        self.number = number
        self.crate = crate
        self.draw = crate.draw
        self.lines: list[str] = ["use crate::{Each, Weigh};",
                                 "use std::collections::{BTreeMap, HashMap};", "use std::fmt;"]
        self.taken: set[str] = set()
        self.records: list[str] = []  # types that are Clone, Debug, Default, PartialEq and Weigh
        self.functions: list[tuple[str, int]] = []  # u64 parameters, a u64 result

    def name(self) -> str:
        base = f"{self.draw.choice(ADJECTIVES)}_{self.draw.choice(NOUNS)}"
        name, number = base, 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name

    def add(self, text: str) -> None:
        self.lines += text.strip("\n").split("\n")

    def write(self) -> None:
        makers = [self.record, self.record, self.choice, self.function, self.function, self.trait,
                  self.pool, self.parser, self.tree, self.walk, self.registry, self.macro]
        self.record()
        self.function()
        for _ in range(self.draw.randint(9, 15)):
            self.draw.choice(makers)()
        self.crate.records += [f"crate::m{self.number}::{each}" for each in self.records]
        self.crate.functions += [(f"crate::m{self.number}::{name}", count)
                                 for name, count in self.functions]

    def type(self, depth: int = 0) -> str:
        draw = self.draw
        known = self.records + self.crate.records[-60:]
        kind = draw.random()
        if depth >= 2 or kind < 0.45:
            return draw.choice(PLAIN)
        if kind < 0.62 and known:
            return draw.choice(known)
        inner = self.type(depth + 1)
        return draw.choice((f"Vec<{inner}>", f"Option<{inner}>", f"Box<{inner}>",
                            f"({inner}, {self.type(depth + 1)})", f"HashMap<String, {inner}>",
                            f"BTreeMap<{draw.choice(('u32', 'String', 'i64'))}, {inner}>"))

    def expression(self, names: list[str], depth: int = 0) -> str:
        """Of type u64."""
        draw = self.draw
        kind = draw.randrange(9 if depth < 3 else 2)
        if kind == 0:
            return str(draw.randrange(1, 1 << draw.randint(2, 40))) + "u64"
        if kind <= 2:
            return draw.choice(names)
        a = self.expression(names, depth + 1)
        b = self.expression(names, depth + 1)
        if kind <= 5:
            call = draw.choice(("wrapping_add", "wrapping_mul", "wrapping_sub", "max", "abs_diff"))
            return f"u64::{call}({a}, {b})"
        if kind == 6:
            return f"(({a}) ^ ({b}).rotate_left({draw.randrange(1, 63)}))"
        if kind == 7:
            return f"(if {a} {draw.choice('<>')} {draw.choice(names)} {{ {b} }} else {{ {a} }})"
        known = self.functions + self.crate.functions[-40:]
        if not known:
            return f"({a} >> {draw.randrange(1, 9)})"
        name, count = draw.choice(known)
        return f"{name}({', '.join(draw.choice(names) for _ in range(count))})"

    def function(self) -> None:
        draw = self.draw
        name = self.name()
        count = draw.randint(1, 4)
        names = [f"a{i}" for i in range(count)]
        text = [f"pub fn {name}({', '.join(f'{each}: u64' for each in names)}) -> u64 {{"]
        for i in range(draw.randint(3, 12)):
            kind = draw.randrange(5)
            local = f"v{i}"
            if kind <= 1:
                text.append(f"    let {local} = {self.expression(names)};")
            elif kind == 2:
                text += [f"    let {local} = match {draw.choice(names)} % {draw.randint(5, 9)} {{",
                         f"        0 => {self.expression(names)},",
                         f"        1 | 3 => {self.expression(names)},",
                         f"        n if n > {draw.choice(names)} => {self.expression(names)},",
                         f"        other => other.wrapping_mul({self.expression(names)}),",
                         "    };"]
            elif kind == 3:
                text += [f"    let mut {local} = {draw.choice(names)};",
                         f"    for i in 0..{draw.randint(2, 90)}u64 {{",
                         f"        if {local} % {draw.randint(2, 7)} == i % 2 {{",
                         f"            {local} = {local}.wrapping_add("
                         f"{self.expression([*names, 'i'])});",
                         "        } else {",
                         f"            {local} ^= {self.expression([*names, 'i'])};",
                         "        }", "    }"]
            else:
                text += [f"    let {local}: u64 = (0..{draw.randint(3, 40)}u64)",
                         f"        .filter(|n| n % {draw.randint(2, 6)} != 0)",
                         f"        .map(|n| {self.expression([*names, 'n'])})",
                         "        .fold(0, |sum, each| sum ^ each);"]
            names.append(local)
        text += [f"    {self.expression(names)}", "}"]
        self.lines += text
        self.functions.append((name, count))

    def record(self) -> None:
        draw = self.draw
        name = camel(self.name())
        fields = [(f"{draw.choice(NOUNS)}_{i}", self.type()) for i in range(draw.randint(2, 8))]
        text = ["#[derive(Debug, Clone, Default, PartialEq)]", f"pub struct {name} {{"]
        text += [f"    pub {field}: {kind}," for field, kind in fields]
        text += ["}", f"impl Weigh for {name} {{", "    fn weigh(&self) -> u64 {",
                 f"        let mut sum = {draw.randrange(1 << 30)}u64;"]
        text += [f"        sum = sum.rotate_left({draw.randint(1, 31)}) ^ self.{field}.weigh();"
                 for field, _ in fields]
        text += ["        sum", "    }", "}", f"impl {name} {{", "    pub fn new("]
        text += [f"        {field}: {kind}," for field, kind in fields]
        text += ["    ) -> Self {", "        Self {"]
        text += [f"            {field}," for field, _ in fields]
        text += ["        }", "    }"]
        for field, kind in draw.sample(fields, draw.randint(1, len(fields))):
            text += [f"    pub fn with_{field}(mut self, value: impl Into<{kind}>) -> Self {{",
                     f"        self.{field} = value.into();", "        self", "    }",
                     f"    pub fn {field}(&self) -> &{kind} {{", f"        &self.{field}", "    }"]
        text += ["    pub fn changed(&self, other: &Self) -> Vec<&'static str> {",
                 "        let mut names = Vec::new();"]
        for field, _ in fields:
            text += [f"        if self.{field} != other.{field} {{",
                     f"            names.push(\"{field}\");", "        }"]
        text += ["        names", "    }", "}"]
        self.lines += text
        self.records.append(name)

    def choice(self) -> None:
        draw = self.draw
        name = camel(self.name())
        variants = []
        for i in range(draw.randint(3, 9)):
            shape = draw.randrange(3)
            kinds = [self.type(1) for _ in range(draw.randint(1, 3))]
            variants.append((f"{camel(draw.choice(NOUNS))}{i}", shape, [] if shape == 0 else kinds))
        text = ["#[derive(Debug, Clone, PartialEq, Default)]", f"pub enum {name} {{",
                "    #[default]", "    Nothing,"]
        for variant, shape, kinds in variants:
            if shape == 0:
                text.append(f"    {variant},")
            elif shape == 1:
                text.append(f"    {variant}({', '.join(kinds)}),")
            else:
                inside = ", ".join(f"f{i}: {kind}" for i, kind in enumerate(kinds))
                text.append(f"    {variant} {{ {inside} }},")
        text += ["}", f"impl Weigh for {name} {{", "    fn weigh(&self) -> u64 {",
                 "        match self {", f"            {name}::Nothing => 0,"]
        for i, (variant, shape, kinds) in enumerate(variants):
            names = [f"f{at}" for at in range(len(kinds))]
            sum_of = " ^ ".join(f"{each}.weigh()" for each in names) or str(i)
            pattern = {0: "", 1: f"({', '.join(names)})", 2: f" {{ {', '.join(names)} }}"}[shape]
            if kinds and draw.random() < 0.5:
                text.append(f"            {name}::{variant}{pattern} if f0.weigh() > "
                            f"{draw.randrange(1000)} => {draw.randrange(1 << 20)},")
            text.append(f"            {name}::{variant}{pattern} => {sum_of},")
        text += ["        }", "    }", "}", f"impl fmt::Display for {name} {{",
                 "    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {",
                 "        match self {"]
        for variant, shape, kinds in variants[:-1]:
            rest = {0: "", 1: "(..)", 2: " { .. }"}[shape]
            text.append(f"            Self::{variant}{rest} => write!(f, \"{variant} of "
                        f"{draw.choice(NOUNS)} {{}}\", self.weigh()),")
        text += ["            other => write!(f, \"{other:?}\"),", "        }", "    }", "}"]
        self.lines += text
        self.records.append(name)

    def trait(self) -> None:
        draw = self.draw
        name = camel(self.name())
        method = draw.choice(NOUNS)
        users = draw.sample(self.records, min(len(self.records), draw.randint(1, 3)))
        self.add(f"""
pub trait {name} {{
    type Out: Clone + fmt::Debug + PartialOrd;
    const LEVEL: u64 = {draw.randrange(1000)};
    fn {method}(&self, by: u64) -> Self::Out;
    fn {method}_twice(&self, by: u64) -> (Self::Out, Self::Out) {{
        (self.{method}(by), self.{method}(by.wrapping_add(Self::LEVEL)))
    }}
}}""")
        for user in users:
            out, value = draw.choice((
                ("u64", f"{self.expression(['by', 'own'])}"),
                ("String", f"format!(\"{{own}} {draw.choice(NOUNS)} "
                           f"{{by:>{draw.randint(2, 9)}}}\")"),
                ("Vec<u64>", f"(0..by % {draw.randint(3, 9)}).map(|n| n ^ own).collect()"),
                ("Option<(u64, String)>", "own.checked_add(by).map(|sum| (sum, sum.to_string()))")))
            self.add(f"""
impl {name} for {user} {{
    type Out = {out};
    fn {method}(&self, by: u64) -> Self::Out {{
        let own = self.weigh();
        {value}
    }}
}}""")
        user = draw.choice(users)
        self.add(f"""
pub fn best_by_{method}_{len(self.lines)}<T>(items: &[T], by: u64) -> Option<(usize, T::Out)>
where
    T: {name} + Weigh,
    T::Out: 'static,
{{
    let mut best: Option<(usize, T::Out)> = None;
    for (index, item) in items.iter().enumerate() {{
        let out = item.{method}(by ^ item.weigh());
        match &best {{
            Some((_, other)) if *other >= out => continue,
            _ => best = Some((index, out)),
        }}
    }}
    best
}}
pub fn use_{method}_{len(self.lines)}(items: Vec<{user}>) -> usize {{
    best_by_{method}_{len(self.lines)}(&items, {draw.randrange(99)}).map_or(0, |(index, _)| index)
}}""")

    def pool(self) -> None:
        draw = self.draw
        name = camel(self.name())
        user = draw.choice(self.records)
        size = draw.randint(2, 64)
        self.add(f"""
#[derive(Debug, Clone)]
pub struct {name}Pool<T, const N: usize> {{
    slots: [Option<T>; N],
    used: usize,
}}
impl<T: Clone + Weigh, const N: usize> {name}Pool<T, N> {{
    pub const ROOM: usize = N * {draw.randint(1, 9)};
    pub fn new() -> Self {{
        Self {{ slots: std::array::from_fn(|_| None), used: 0 }}
    }}
    pub fn insert(&mut self, item: T) -> Result<usize, T> {{
        let start = (item.weigh() as usize).wrapping_mul({draw.randrange(3, 99, 2)}) % N;
        for step in 0..N {{
            let at = (start + step) % N;
            if self.slots[at].is_none() {{
                self.slots[at] = Some(item);
                self.used += 1;
                return Ok(at);
            }}
        }}
        Err(item)
    }}
    pub fn map<U, F>(&self, mut change: F) -> {name}Pool<U, N>
    where
        F: FnMut(usize, &T) -> U,
    {{
        let mut at = 0;
        let slots = self.slots.each(&mut |item| {{
            at += 1;
            change(at - 1, item)
        }});
        {name}Pool {{ slots, used: self.used }}
    }}
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {{
        self.slots.iter().flatten()
    }}
}}
pub fn fill_{name.lower()}(items: Vec<{user}>) -> u64 {{
    let mut pool = {name}Pool::<{user}, {size}>::new();
    let failed = items.into_iter().filter_map(|item| pool.insert(item).err()).count() as u64;
    let weights = pool.map(|index, item| (index as u64) ^ item.weigh());
    weights.iter().fold(failed, |sum, each| sum.wrapping_add(*each))
}}""")

    def parser(self) -> None:
        draw = self.draw
        name = camel(self.name())
        words = draw.sample(NOUNS, draw.randint(3, 8))
        arms = "\n".join(f'            ("{word}", Some(n)) => n.wrapping_mul({draw.randrange(99)}),'
                         for word in words[1:])
        separator = draw.choice(",;:|/")
        self.add(f"""
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum {name}Error {{
    Number(std::num::ParseIntError),
    Unknown {{ word: String, at: usize }},
    Empty,
}}
impl From<std::num::ParseIntError> for {name}Error {{
    fn from(error: std::num::ParseIntError) -> Self {{
        Self::Number(error)
    }}
}}
impl fmt::Display for {name}Error {{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{
        match self {{
            Self::Number(error) => write!(f, "no number: {{error}}"),
            Self::Unknown {{ word, at }} if *at > 0 => write!(f, "{{word:?}} at {{at}}"),
            Self::Unknown {{ word, .. }} => f.write_str(word),
            Self::Empty => f.write_str("nothing to read"),
        }}
    }}
}}
impl std::error::Error for {name}Error {{}}
pub fn parse_{name.lower()}(text: &str) -> Result<Vec<u64>, {name}Error> {{
    let mut values = Vec::new();
    for (at, part) in text.split('{separator}').map(str::trim).enumerate() {{
        let (word, number) = match part.split_once('=') {{
            Some((word, digits)) => (word, Some(digits.parse::<u64>()?)),
            None if part.is_empty() => return Err({name}Error::Empty),
            None => (part, None),
        }};
        let value = match (word, number) {{
            ("{words[0]}", None) => {draw.randrange(1 << 16)},
{arms}
            (other, None) if other.chars().all(|c| c.is_ascii_digit()) => other.parse()?,
            (word, _) => return Err({name}Error::Unknown {{ word: word.to_owned(), at }}),
        }};
        values.push(value);
    }}
    Ok(values)
}}
pub fn sum_{name.lower()}(texts: &[&str]) -> Result<u64, Box<dyn std::error::Error>> {{
    let lists = texts.iter().map(|text| parse_{name.lower()}(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(lists.into_iter().flatten().fold(0, u64::wrapping_add))
}}""")

    def tree(self) -> None:
        draw = self.draw
        name = camel(self.name())
        operators = draw.sample(("Add", "Sub", "Mul", "Min", "Max", "Xor", "And", "Or"), 4)
        code = {"Add": "a.wrapping_add(b)", "Sub": "a.wrapping_sub(b)", "Mul": "a.wrapping_mul(b)",
                "Min": "a.min(b)", "Max": "a.max(b)", "Xor": "a ^ b", "And": "a & b", "Or": "a | b"}
        binary = "\n".join(f"            {name}::{each}(l, r) => {{\n"
                           "                let (a, b) = (l.eval(names)?, r.eval(names)?);\n"
                           f"                {code[each]}\n            }}" for each in operators)
        listed = "\n".join(f"    {each}(Box<{name}>, Box<{name}>)," for each in operators)
        fold = "\n".join(f"            {name}::{each}(l, r) => match (l.simple(), r.simple()) {{\n"
                         f"                ({name}::Value(a), {name}::Value(b)) => "
                         f"{name}::Value({code[each]}),\n"
                         f"                (l, r) if l == r && {str(draw.random() < 0.5).lower()} "
                         f"=> l,\n"
                         f"                (l, r) => {name}::{each}(Box::new(l), Box::new(r)),\n"
                         "            }," for each in operators)
        self.add(f"""
#[derive(Debug, Clone, PartialEq)]
pub enum {name} {{
    Value(i64),
    Name(String),
    Call(String, Vec<{name}>),
{listed}
}}
impl {name} {{
    pub fn eval(&self, names: &HashMap<String, i64>) -> Option<i64> {{
        Some(match self {{
            {name}::Value(value) => *value,
            {name}::Name(name) => *names.get(name)?,
            {name}::Call(name, given) => {{
                let given = given.iter().map(|each| each.eval(names)).collect::<Option<Vec<_>>>()?;
                match (name.as_str(), given.as_slice()) {{
                    ("{draw.choice(NOUNS)}", [a, b, ..]) => a ^ b,
                    ("{draw.choice(ADJECTIVES)}", [a]) => a.wrapping_neg(),
                    (_, [first, .., last]) => first.wrapping_mul(*last),
                    (_, rest) => rest.iter().sum(),
                }}
            }}
{binary}
        }})
    }}
    pub fn simple(self) -> Self {{
        match self {{
{fold}
            {name}::Call(name, given) => {{
                {name}::Call(name, given.into_iter().map({name}::simple).collect())
            }}
            other @ ({name}::Value(_) | {name}::Name(_)) => other,
        }}
    }}
}}""")

    def walk(self) -> None:
        draw = self.draw
        name = camel(self.name())
        user = draw.choice(self.records)
        self.add(f"""
pub struct {name}Walk<'a, T> {{
    rest: &'a [T],
    step: usize,
    seen: BTreeMap<u64, &'a T>,
}}
impl<'a, T: Weigh> Iterator for {name}Walk<'a, T> {{
    type Item = (u64, &'a T);
    fn next(&mut self) -> Option<Self::Item> {{
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest.get(self.step..).unwrap_or(&[]);
        let weight = first.weigh();
        match self.seen.insert(weight, first) {{
            Some(earlier) if weight % {draw.randint(2, 30)} == 0 => Some((earlier.weigh(), first)),
            _ => Some((weight, first)),
        }}
    }}
}}
pub fn walk_{name.lower()}(items: &[{user}]) -> HashMap<u64, Vec<(usize, &{user})>> {{
    let walk = {name}Walk {{ rest: items, step: {draw.randint(0, 5)}, seen: BTreeMap::new() }};
    let mut groups: HashMap<u64, Vec<(usize, &{user})>> = HashMap::new();
    for (index, (weight, item)) in walk.enumerate().skip_while(|(_, (w, _))| *w == 0) {{
        groups.entry(weight % {draw.randint(3, 50)}).or_default().push((index, item));
    }}
    groups.retain(|_, list| list.len() > {draw.randint(0, 4)});
    groups
}}""")

    def registry(self) -> None:
        draw = self.draw
        name = camel(self.name())
        user = draw.choice(self.records)
        entries = "\n".join(
            f"        all.insert(\"{word}\", Box::new(move |item: &{user}| "
            f"{self.expression(['by', 'item.weigh()'])}));"
            for word in draw.sample(NOUNS, draw.randint(2, 7)))
        self.add(f"""
type {name}Rule = Box<dyn Fn(&{user}) -> u64 + Send + Sync>;
pub struct {name}Rules {{
    all: BTreeMap<&'static str, {name}Rule>,
}}
impl {name}Rules {{
    pub fn new(by: u64) -> Self {{
        let mut all: BTreeMap<&'static str, {name}Rule> = BTreeMap::new();
{entries}
        Self {{ all }}
    }}
    pub fn apply<'a>(
        &'a self,
        item: &'a {user},
    ) -> impl Iterator<Item = (&'static str, u64)> + 'a {{
        self.all.iter().map(move |(name, rule)| (*name, rule(item)))
    }}
}}""")

    def macro(self) -> None:
        draw = self.draw
        name = self.name()
        made = [(camel(self.name()), draw.choice(NUMBERS)) for _ in range(draw.randint(2, 6))]
        calls = "\n".join(f"{name}!({kind}Unit({number}), {draw.randrange(100)});"
                          for kind, number in made)
        self.add(f"""
macro_rules! {name} {{
    ($unit:ident($number:ty), $start:expr) => {{
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $unit(pub $number);
        impl Default for $unit {{
            fn default() -> Self {{
                $unit($start)
            }}
        }}
        impl std::ops::Add for $unit {{
            type Output = Self;
            fn add(self, other: Self) -> Self {{
                $unit(self.0.wrapping_add(other.0))
            }}
        }}
        impl std::iter::Sum for $unit {{
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {{
                all.fold($unit::default(), |sum, each| sum + each)
            }}
        }}
        impl Weigh for $unit {{
            fn weigh(&self) -> u64 {{
                (self.0 as u64).wrapping_mul({draw.randrange(1 << 20)})
            }}
        }}
    }};
}}
{calls}""")
        self.records += [f"{kind}Unit" for kind, _ in made]


class Crate:
    """All modules, by name of file; what later ones may use of earlier ones."""

    def __init__(self, lines: int, seed: int) -> None:
        self.draw = random.Random(seed)
        self.records: list[str] = []
        self.functions: list[tuple[str, int]] = []
        self.files: dict[str, str] = {}
        count = ROOT.count("\n")
        names = []
        while count < lines:
            module = Module(len(names), self)
            module.write()
            names.append(f"m{module.number}")
            self.files[f"{names[-1]}.rs"] = "\n".join(module.lines) + "\n"
            count += len(module.lines) + 1
        self.files["lib.rs"] = ROOT + "".join(f"pub mod {name};\n" for name in names)
        self.lines = count


def write(folder: Path, lines: int, seed: int = 1) -> int:
    """Writes the crate's sources; returns how many lines they have, `lines` or a little more."""
    made = Crate(lines, seed)
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(MANIFEST, encoding="utf-8")
    for name, text in made.files.items():
        (folder / "src" / name).write_text(text, encoding="utf-8")
    return made.lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{write(options.folder, options.lines, options.seed)} lines in {options.folder}")


if __name__ == "__main__":
    main()
