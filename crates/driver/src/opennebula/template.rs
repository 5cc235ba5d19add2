//! Templates: named attributes in OpenNebula's own notation.

use std::fmt;

use crate::opennebula::element::Element;

/// A template. Attributes keep their order; one name may have several values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<(String, Vec<Value>)>);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Further attributes, which have texts.
    Vector(Vector),
}

/// The attributes in an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector(Vec<(String, String)>);

impl Template {
    /// Reads the elements in a `TEMPLATE` or `USER_TEMPLATE`. Values of the same name come together.
    pub fn parse(element: Element<'_>) -> Self {
        let mut template = Self::default();
        for child in element.children() {
            let value = Value::parse(child);
            match template.values(child.name()) {
                Some(values) => values.push(value),
                None => template.0.push((child.name().to_owned(), vec![value])),
            }
        }
        template
    }

    /// Takes over all attributes of another template, in place of its own of the same names.
    pub fn merge(&mut self, other: Self) {
        for (name, values) in other.0 {
            match self.values(&name) {
                Some(own) => *own = values,
                None => self.0.push((name, values)),
            }
        }
    }

    /// Gives an attribute one text.
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        self.merge(Self(vec![(name.to_owned(), vec![Value::Text(text.into())])]));
    }

    /// Takes attributes out.
    pub fn remove(&mut self, names: &[&str]) {
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
    }

    /// The values of an attribute that have attributes themselves.
    pub fn vectors(&mut self, name: &str) -> impl Iterator<Item = &mut Vector> {
        self.values(name).into_iter().flatten().filter_map(|value| match value {
            Value::Vector(vector) => Some(vector),
            Value::Text(_) => None,
        })
    }

    /// Takes those values of an attribute out for which this is not true.
    pub fn retain_vectors(&mut self, name: &str, mut keep: impl FnMut(&mut Vector) -> bool) {
        if let Some(values) = self.values(name) {
            values.retain_mut(|value| match value {
                Value::Vector(vector) => keep(vector),
                Value::Text(_) => true,
            });
        }
    }

    fn values(&mut self, name: &str) -> Option<&mut Vec<Value>> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, values)| values)
    }
}

impl Value {
    fn parse(element: Element<'_>) -> Self {
        let children = element.children();
        let vector: Vec<_> =
            children.map(|child| (child.name().to_owned(), child.raw_text().to_owned())).collect();
        match vector.is_empty() {
            true => Self::Text(element.raw_text().to_owned()),
            false => Self::Vector(Vector(vector)),
        }
    }
}

impl Vector {
    /// The text of an attribute, if it is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
        found.filter(|text| !text.is_empty())
    }

    /// Gives an attribute a text: in its place, or at the end.
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, own)) => *own = text.into(),
            None => self.0.push((name.to_owned(), text.into())),
        }
    }

    /// Takes attributes out.
    pub fn remove(&mut self, names: &[&str]) {
        self.retain(|name| !names.contains(&name));
    }

    /// Takes those attributes out for whose names this is not true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }
}

/// As OpenNebula's own tools write templates. What is empty is left out.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, values) in &self.0 {
            let name = name.to_uppercase();
            for value in values {
                match value {
                    Value::Text(text) if text.is_empty() => {}
                    Value::Text(text) => writeln!(f, "{name}= {}", Quoted(text))?,
                    Value::Vector(vector) => vector.write(&name, f)?,
                }
            }
        }
        Ok(())
    }
}

impl Vector {
    fn write(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (part, text) in self.0.iter().filter(|(_, text)| !text.is_empty()) {
            match separator {
                "" => writeln!(f, "{name}=[")?,
                separator => f.write_str(separator)?,
            }
            write!(f, "    {}={}", part.to_uppercase(), Quoted(text))?;
            separator = ",\n";
        }
        if separator.is_empty() { Ok(()) } else { f.write_str("\n]\n") }
    }
}

/// A text as a value of a template: in quotes, and quotes in it escaped. The notation has no other escapes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opennebula::element;

    fn parse(inner: &str) -> Template {
        let text = format!("<TEMPLATE>{inner}</TEMPLATE>");
        let document = element::parse(&text).unwrap();
        Template::parse(Element::top(&document))
    }

    #[test]
    fn a_template_is_written_as_opennebula_does() {
        let mut template = parse(
            "<CPU><![CDATA[0.1]]></CPU><DISK><A>1</A><E/></DISK><X><E></E></X><Y/>\
             <disk2><b><![CDATA[say \"hi\" & go]]></b><C>2</C></disk2><DISK><A>3</A></DISK>",
        );
        template.set("NAME", "a \"b\"");
        template.set("CPU", "2");
        assert_eq!(
            template.to_string(),
            "CPU= \"2\"\nDISK=[\n    A=\"1\"\n]\nDISK=[\n    A=\"3\"\n]\nDISK2=[\n    B=\"say \
             \\\"hi\\\" & go\",\n    C=\"2\"\n]\nNAME= \"a \\\"b\\\"\"\n"
        );
    }

    #[test]
    fn the_other_template_wins_and_the_place_stays() {
        let mut template = parse("<A>1</A><B>2</B><B>3</B><C>4</C>");
        template.merge(parse("<D>5</D><B>6</B>"));
        template.remove(&["C"]);
        assert_eq!(template.to_string(), "A= \"1\"\nB= \"6\"\nD= \"5\"\n");
    }

    #[test]
    fn attributes_in_attributes_can_be_changed() {
        let mut template =
            parse("<NIC><IP>1</IP><MAC>2</MAC></NIC><NIC><IP>3</IP></NIC><NIC>x</NIC>");
        for nic in template.vectors("NIC") {
            nic.remove(&["MAC"]);
            nic.set("Z", "9");
        }
        template.retain_vectors("NIC", |nic| nic.text("IP") != Some("3"));
        assert_eq!(template.to_string(), "NIC=[\n    IP=\"1\",\n    Z=\"9\"\n]\nNIC= \"x\"\n");
        assert_eq!(template.vectors("PCI").count(), 0);
    }
}
