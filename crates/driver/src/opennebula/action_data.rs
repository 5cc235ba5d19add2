//! What the daemon hands to an action on standard input.

use std::io::Read;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};
use crate::opennebula::element::{self, Document, Element};

/// More than any description of a datastore, an image and a VM takes.
const MAX_LENGTH: u64 = 64 << 20;

/// Padding and stray bits do not matter: Ruby's `decode64`, which reads this message elsewhere, does not
/// look at them either.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The message of an action: XML, with the datastore's secrets in it.
pub struct ActionData(Zeroizing<String>);

/// The id of an image or a request is shorter, and a message longer.
const LONGEST_ID: usize = 64;

impl ActionData {
    /// The message of an action with these arguments: it comes on standard input, but OpenNebula 6.6 has it
    /// in front of the arguments.
    pub async fn of_call(arguments: &[String]) -> Result<Self> {
        match arguments.first() {
            Some(message) if message.len() > LONGEST_ID => Self::decode(message.as_bytes()),
            _ => Self::of_stdin().await,
        }
    }

    /// Reads the message from standard input to its end.
    pub async fn of_stdin() -> Result<Self> {
        let read = tokio::task::spawn_blocking(|| {
            let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 16));
            std::io::stdin().lock().take(MAX_LENGTH + 1).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        });
        let bytes = read.await.map_err(std::io::Error::other).flatten().map_err(|error| {
            Failure::new(format_args!("cannot read what to do from standard input: {error}"))
        })?;
        Self::decode(&bytes)
    }

    /// Decodes a message. Some actions get it as XML, others as base64 of XML; which of both it is can
    /// be seen.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_LENGTH {
            return Err(Failure::new("what came on standard input is too long to be an action"));
        }
        let start = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let text = match start {
            None => {
                return Err(Failure::new(
                    "nothing came on standard input, where OpenNebula says what to do",
                ));
            }
            Some(b'<') => bytes.to_vec(),
            Some(_) => decode_base64(bytes)?.to_vec(),
        };
        let text = String::from_utf8(text).map_err(|_| {
            Failure::new("what came on standard input is neither XML nor base64 of XML")
        })?;
        Ok(Self(Zeroizing::new(text)))
    }

    /// The message as a document.
    pub fn document(&self) -> Result<Document<'_>> {
        element::parse(&self.0).map_err(|error| {
            Failure::new(format_args!("what came on standard input is not valid XML: {error}"))
        })
    }
}

/// The element of an action, which is the top or lies below it: `DATASTORE`, `IMAGE` or `VM`.
pub fn part<'a>(document: &'a Document<'_>, name: &str) -> Result<Element<'a>> {
    let top = Element::top(document);
    if top.name() == name {
        return Ok(top);
    }
    top.child(name).ok_or_else(|| {
        Failure::new(format_args!(
            "the message of OpenNebula has no {name}, which this action needs"
        ))
    })
}

/// Decodes base64 as Ruby does: whatever is no part of it is passed over.
fn decode_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let letters = text.iter().take_while(|byte| **byte != b'=').copied().filter(is_part);
    let letters: Zeroizing<Vec<u8>> = Zeroizing::new(letters.collect());
    LENIENT
        .decode(&*letters)
        .map(Zeroizing::new)
        .map_err(|_| Failure::new("what came on standard input is neither XML nor base64 of XML"))
}

/// The text of a file that is stored as base64, as `vm.xml` is.
pub fn decode_base64_file(text: &[u8]) -> Option<Vec<u8>> {
    decode_base64(text).ok().map(|decoded| decoded.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<DS_DRIVER_ACTION_DATA><IMAGE><ID>3</ID></IMAGE></DS_DRIVER_ACTION_DATA>";

    fn image(bytes: &[u8]) -> Result<String> {
        let data = ActionData::decode(bytes)?;
        let document = data.document()?;
        Ok(part(&document, "IMAGE")?.required("ID")?.to_owned())
    }

    #[test]
    fn xml_and_base64_of_it_are_told_apart() {
        let encoded = base64::prelude::BASE64_STANDARD.encode(XML);
        let wrapped = format!("{}\n{}\n", &encoded[..20], &encoded[20..]);
        for text in [XML, &format!("\n  {XML}\n"), &encoded, &wrapped] {
            assert_eq!(image(text.as_bytes()), Ok("3".to_owned()), "{text}");
        }
        assert_eq!(image(b"<IMAGE><ID>4</ID></IMAGE>"), Ok("4".to_owned()));
    }

    #[test]
    fn what_is_no_message_gives_one_sentence() {
        for text in
            ["", "  \n", "not xml", "<IMAGE>", "\u{fffd}", "AAAA", "<A/>", "<!DOCTYPE a><IMAGE/>"]
        {
            let failure = image(text.as_bytes()).unwrap_err();
            assert!(!failure.message().contains('\n'), "{text}: {failure}");
        }
    }
}
