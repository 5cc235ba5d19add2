//! Access control lists: from the bytes that Linux keeps in an attribute to the text that tar holds.

/// The only version there is, at the beginning of the attribute (Linux's `posix_acl_xattr.h`).
const VERSION: u32 = 2;

/// The text form, a line for each entry: `user:1000:r-x`. Nothing if these bytes are no list.
pub(super) fn to_text(attribute: &[u8]) -> Option<String> {
    let (version, entries) = attribute.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
        return None;
    }
    entries.chunks_exact(8).map(line).collect()
}

fn line(entry: &[u8]) -> Option<String> {
    let (tag, rest) = entry.split_first_chunk()?;
    let (permissions, rest) = rest.split_first_chunk()?;
    let id = u32::from_le_bytes(rest.try_into().ok()?);
    let who = match u16::from_le_bytes(*tag) {
        0x01 => "user:".to_owned(),
        0x02 => format!("user:{id}"),
        0x04 => "group:".to_owned(),
        0x08 => format!("group:{id}"),
        0x10 => "mask:".to_owned(),
        0x20 => "other:".to_owned(),
        _ => return None,
    };
    let permissions = u16::from_le_bytes(*permissions);
    let letter = |bit, letter| if permissions & bit != 0 { letter } else { '-' };
    Some(format!("{who}:{}{}{}\n", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_text() {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let list = [
            2u32.to_le_bytes().to_vec(),
            entry(0x01, 6, u32::MAX),
            entry(0x02, 5, 1000),
            entry(0x04, 4, u32::MAX),
            entry(0x10, 7, u32::MAX),
            entry(0x20, 0, u32::MAX),
        ]
        .concat();
        let text = "user::rw-\nuser:1000:r-x\ngroup::r--\nmask::rwx\nother::---\n";
        assert_eq!(to_text(&list).as_deref(), Some(text));
    }

    #[test]
    fn what_is_no_list_has_no_text() {
        for bytes in [
            &b""[..],
            b"abc",
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(to_text(bytes), None, "{bytes:?}");
        }
    }
}
