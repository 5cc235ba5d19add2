//! XML elements, by paths such as `TEMPLATE/RESTIC_PASSWORD`.

use std::fmt::Display;
use std::str::FromStr;

use roxmltree::{Node, ParsingOptions};

use crate::exit::{Failure, Result};

/// A parsed document.
pub type Document<'input> = roxmltree::Document<'input>;

/// More elements than any object of OpenNebula has.
const MAX_NODES: u32 = 4_000_000;

/// Parses XML. A document type, with which a small text could become a huge one, is refused.
pub fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text.trim_start(), options)
}

/// An element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a>(Node<'a, 'a>);

impl<'a> Element<'a> {
    /// The element at the top of a document.
    pub fn top(document: &'a Document<'_>) -> Self {
        Self(document.root_element())
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.0.tag_name().name()
    }

    /// The elements in it, in their order.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        self.0.children().filter(Node::is_element).map(Self)
    }

    /// The first element in it with this name.
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children().find(|child| child.name() == name)
    }

    /// The first element at this path.
    pub fn at(&self, path: &str) -> Option<Self> {
        path.split('/').try_fold(*self, |element, name| element.child(name))
    }

    /// All elements with the last name of this path, in the element that the rest of it leads to.
    pub fn all(&self, path: &str) -> impl Iterator<Item = Self> + use<'a> {
        let (parent, name) = path
            .rsplit_once('/')
            .map_or((Some(*self), path), |(parent, name)| (self.at(parent), name));
        let name = name.to_owned();
        parent
            .into_iter()
            .flat_map(|parent| parent.children())
            .filter(move |child| child.name() == name)
    }

    /// Its own text, without white space around it.
    pub fn own_text(&self) -> &'a str {
        self.0.text().unwrap_or_default().trim()
    }

    /// Its own text as it is.
    pub fn raw_text(&self) -> &'a str {
        self.0.text().unwrap_or_default()
    }

    /// The text at a path. An element without text is none.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.at(path).map(|element| element.own_text()).filter(|text| !text.is_empty())
    }

    /// The text at a path, which must be there.
    pub fn required(&self, path: &str) -> Result<&'a str> {
        self.text(path).ok_or_else(|| {
            Failure::new(format_args!("the message of OpenNebula has no {}/{path}", self.name()))
        })
    }

    /// The number at a path, if there is something.
    pub fn number<T: FromStr<Err: Display>>(&self, path: &str) -> Result<Option<T>> {
        let Some(text) = self.text(path) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| {
            Failure::new(format_args!("{}/{path} is {text:?}, not a number: {error}", self.name()))
        })
    }

    /// The number at a path, which must be there.
    pub fn required_number<T: FromStr<Err: Display>>(&self, path: &str) -> Result<T> {
        self.required(path)?;
        Ok(self.number(path)?.expect("it is there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_paths() {
        let document = parse("<A><B><C>1</C><C><![CDATA[ 2 ]]></C><D/></B><N>x</N></A>").unwrap();
        let top = Element::top(&document);
        assert_eq!(top.text("B/C"), Some("1"));
        assert_eq!(top.all("B/C").map(|c| c.own_text()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(top.all("X/C").count(), 0);
        assert_eq!((top.text("B/D"), top.text("B/E")), (None, None));
        assert_eq!(top.number::<u32>("B/C"), Ok(Some(1)));
        assert_eq!(top.number::<u32>("B/D"), Ok(None));
        assert!(
            top.number::<u32>("N").unwrap_err().message().contains("A/N is \"x\", not a number")
        );
        assert!(top.required("Q").unwrap_err().message().contains("no A/Q"));
    }
}
