//! An arithmetic language: parsed into a tree of boxes, folded, printed and evaluated.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(i64),
    Name(String),
    Unary(Operator, Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Call(String, Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Remainder,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ParseError {
    Unexpected(char),
    End,
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(found) => write!(out, "unexpected {found:?}"),
            Self::End => out.write_str("unexpected end"),
        }
    }
}

impl std::error::Error for ParseError {}

impl Operator {
    fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Remainder => '%',
        }
    }

    fn strength(self) -> u8 {
        match self {
            Self::Add | Self::Subtract => 1,
            Self::Multiply | Self::Remainder => 2,
        }
    }

    fn from_symbol(symbol: char) -> Option<Self> {
        [Self::Add, Self::Subtract, Self::Multiply, Self::Remainder]
            .into_iter()
            .find(|operator| operator.symbol() == symbol)
    }

    fn apply(self, left: i64, right: i64) -> i64 {
        match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Remainder => left.checked_rem(right).unwrap_or(0),
        }
    }
}

pub struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl<'a> Parser<'a> {
    pub fn parse(text: &'a str) -> Result<Expression, ParseError> {
        let mut parser = Self {
            rest: text.chars().peekable(),
        };
        let found = parser.binary(0)?;
        match parser.next_visible() {
            None => Ok(found),
            Some(other) => Err(ParseError::Unexpected(other)),
        }
    }

    fn next_visible(&mut self) -> Option<char> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn binary(&mut self, least: u8) -> Result<Expression, ParseError> {
        let mut left = self.unary()?;
        while let Some(operator) = self.next_visible().and_then(Operator::from_symbol) {
            if operator.strength() < least {
                break;
            }
            self.rest.next();
            let right = self.binary(operator.strength() + 1)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, ParseError> {
        match self.next_visible().ok_or(ParseError::End)? {
            '-' => {
                self.rest.next();
                Ok(Expression::Unary(
                    Operator::Subtract,
                    Box::new(self.unary()?),
                ))
            }
            '(' => {
                self.rest.next();
                let inner = self.binary(0)?;
                self.expect(')')?;
                Ok(inner)
            }
            c if c.is_ascii_digit() => {
                let digits = self.take_while(|c| c.is_ascii_digit());
                Ok(Expression::Number(digits.parse().unwrap_or(i64::MAX)))
            }
            c if c.is_alphabetic() => {
                let name = self.take_while(char::is_alphanumeric);
                if self.next_visible() != Some('(') {
                    return Ok(Expression::Name(name));
                }
                self.rest.next();
                let mut arguments = vec![self.binary(0)?];
                while self.next_visible() == Some(',') {
                    self.rest.next();
                    arguments.push(self.binary(0)?);
                }
                self.expect(')')?;
                Ok(Expression::Call(name, arguments))
            }
            other => Err(ParseError::Unexpected(other)),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        std::iter::from_fn(|| self.rest.next_if(|&c| wanted(c))).collect()
    }

    fn expect(&mut self, wanted: char) -> Result<(), ParseError> {
        match self.next_visible() {
            Some(found) if found == wanted => {
                self.rest.next();
                Ok(())
            }
            Some(other) => Err(ParseError::Unexpected(other)),
            None => Err(ParseError::End),
        }
    }
}

impl Expression {
    pub fn fold(self) -> Self {
        match self {
            Self::Unary(operator, inner) => match inner.fold() {
                Self::Number(n) => Self::Number(operator.apply(0, n)),
                other => Self::Unary(operator, Box::new(other)),
            },
            Self::Binary(operator, left, right) => match (left.fold(), right.fold()) {
                (Self::Number(a), Self::Number(b)) => Self::Number(operator.apply(a, b)),
                (a, b) => Self::Binary(operator, Box::new(a), Box::new(b)),
            },
            Self::Call(name, arguments) => {
                Self::Call(name, arguments.into_iter().map(Self::fold).collect())
            }
            other => other,
        }
    }

    pub fn evaluate(&self, names: &BTreeMap<String, i64>) -> i64 {
        match self {
            Self::Number(n) => *n,
            Self::Name(name) => names.get(name).copied().unwrap_or_default(),
            Self::Unary(operator, inner) => operator.apply(0, inner.evaluate(names)),
            Self::Binary(operator, a, b) => operator.apply(a.evaluate(names), b.evaluate(names)),
            Self::Call(name, arguments) => {
                let values = arguments.iter().map(|a| a.evaluate(names));
                match name.as_str() {
                    "sum" => values.fold(0, i64::wrapping_add),
                    "max" => values.max().unwrap_or_default(),
                    _ => values.min().unwrap_or_default(),
                }
            }
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(out, "{n}"),
            Self::Name(name) => out.write_str(name),
            Self::Unary(operator, inner) => write!(out, "{}{inner}", operator.symbol()),
            Self::Binary(operator, a, b) => write!(out, "({a} {} {b})", operator.symbol()),
            Self::Call(name, arguments) => {
                let list: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                write!(out, "{name}({})", list.join(", "))
            }
        }
    }
}
