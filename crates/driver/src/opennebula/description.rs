//! `vm.xml`: what a backup says about the VM that it was made of.

use crate::exit::{Failure, Result};
use crate::opennebula::action_data::decode_base64_file;
use crate::opennebula::element::{self, Document, Element};

/// Longer than any VM's description.
pub const MAX_LENGTH: u64 = 64 << 20;

/// The description of a VM, as it was when the backup was made.
#[derive(Clone, Debug)]
pub struct Description(String);

impl Description {
    /// Decodes the content of `vm.xml`, which is base64 in lines.
    pub fn decode(content: &[u8]) -> Result<Self> {
        let text = match content.trim_ascii_start().first() {
            Some(b'<') => Some(content.to_vec()),
            _ => decode_base64_file(content),
        };
        let text = text.and_then(|text| String::from_utf8(text).ok());
        text.map(Self).ok_or_else(|| {
            Failure::new("the description of the VM in the backup (vm.xml) is not base64 of XML")
        })
    }

    /// The description as a document.
    pub fn document(&self) -> Result<Document<'_>> {
        let document = element::parse(&self.0).map_err(|error| {
            Failure::new(format_args!(
                "the description of the VM in the backup (vm.xml) is not valid XML: {error}"
            ))
        })?;
        match document.root_element().tag_name().name() {
            "VM" => Ok(document),
            _ => Err(Failure::new("vm.xml in the backup does not describe a VM")),
        }
    }
}

/// The size of a VM's disk in MiB, as the guest sees it.
pub fn disk_size(vm: Element<'_>, disk: &str) -> Result<u64> {
    let is_it = |found: &Element<'_>| found.text("DISK_ID") == Some(disk);
    let found = vm.all("TEMPLATE/DISK").find(is_it).ok_or_else(|| {
        Failure::new(format_args!("the VM had no disk {disk} when the backup was made"))
    })?;
    found.required_number("SIZE")
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const VM: &str = "<VM><ID>3</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><SIZE>64</SIZE></DISK>\
                      <DISK><DISK_ID>2</DISK_ID></DISK></TEMPLATE></VM>";

    fn size(content: &[u8], disk: &str) -> Result<u64> {
        let description = Description::decode(content)?;
        let document = description.document()?;
        disk_size(Element::top(&document), disk)
    }

    #[test]
    fn a_description_in_lines_of_base64_tells_sizes() {
        let encoded = BASE64_STANDARD.encode(VM);
        let lines = format!("{}\n{}\n\n", &encoded[..60], &encoded[60..]);
        assert_eq!(size(lines.as_bytes(), "0"), Ok(64));
        assert_eq!(size(VM.as_bytes(), "0"), Ok(64));
    }

    #[test]
    fn what_a_description_lacks_is_named() {
        for (content, disk, expected) in [
            (VM, "1", "no disk 1"),
            (VM, "2", "DISK/SIZE"),
            ("\u{fffd}=", "0", "not valid XML"),
            ("PGE+", "0", "not valid XML"),
            ("<IMAGE/>", "0", "does not describe a VM"),
            ("////", "0", "not base64 of XML"),
        ] {
            let failure = size(content.as_bytes(), disk).unwrap_err();
            assert!(failure.message().contains(expected), "{content}: {failure}");
        }
    }
}
