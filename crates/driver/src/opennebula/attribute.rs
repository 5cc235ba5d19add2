//! Attributes of a datastore: texts that operators wrote, each with what it may be.

use std::str::FromStr;

use crate::exit::{Failure, Result};
use crate::opennebula::element::Element;

/// The attributes in a `TEMPLATE`.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(Option<Element<'a>>);

impl<'a> Attributes<'a> {
    /// Those of a datastore.
    pub fn of(datastore: Element<'a>) -> Self {
        Self(datastore.child("TEMPLATE"))
    }

    /// An attribute's value, without white space around it. An empty one is none.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0?.text(name)
    }

    /// An attribute that must be there.
    pub fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name).ok_or_else(|| {
            Failure::new(format_args!(
                "the datastore has no {name}; set it with onedatastore update"
            ))
        })
    }

    /// An attribute's value, by what it may be. `parse` gives nothing for what it may not be.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| invalid(name, text, expected))
    }

    /// A number. What lies below zero stands for none: -1 is upstream's default for many.
    pub fn number<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        let number = self.parsed(name, expected, |text| match text.parse::<i64>() {
            Ok(..0) => Some(None),
            _ => text.parse().ok().map(Some),
        })?;
        Ok(number.flatten())
    }

    /// Yes or no, and which if it is not said. What is neither is refused.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let flag =
            self.parsed(name, "YES or NO", |text| match text.to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" => Some(true),
                "no" | "false" | "0" => Some(false),
                _ => None,
            })?;
        Ok(flag.unwrap_or(default))
    }
}

/// An attribute that is not what it may be.
pub fn invalid(name: &str, text: &str, expected: &str) -> Failure {
    Failure::new(format_args!(
        "Invalid value for {name}: {text:?} is not {expected}; mend it with onedatastore update"
    ))
}
