//! Dumping files and folders.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use restic_repo::chunker::{MIN_SIZE, ZERO_CHUNK_ID};
use restic_repo::dump::{dump_file, dump_tar};
use restic_repo::node::{ExtendedAttribute, Mode, Node, NodeType};
use restic_repo::progress::Silent;
use restic_repo::{BlobHandle, Error, FileType, Handle, Id};

use crate::scratch::{Scratch, link, mode, noise, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_dumped_file_is_the_file() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let (one, two) = (noise(1, 3 << 20), noise(2, 100));
    let zeros = vec![0; MIN_SIZE];
    let node = hand.file("f", &[&one, &zeros, &two, &zeros, &one]);
    assert_eq!(node.content.as_ref().unwrap()[1], ZERO_CHUNK_ID);
    let empty = hand.file("empty", &[]);
    hand.finish().await;
    let index = scratch.index().await;
    let dump = async |node: &Node| {
        let path = Path::new("/f");
        dump_file(&scratch.repository, Arc::clone(&index), path, node, Vec::new()).await
    };
    assert!(dump(&node).await.unwrap() == [&one[..], &zeros, &two, &zeros, &one].concat());
    assert!(dump(&empty).await.unwrap().is_empty());
    let folder = Node::new("d", NodeType::Dir);
    assert!(matches!(dump(&folder).await, Err(Error::WrongNodeType { wanted: "file", .. })));
    let damaged = with!(node, content: None);
    assert!(matches!(dump(&damaged).await, Err(Error::Mismatch { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_gone_is_a_broken_pipe() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let blobs: Vec<_> = (0..40).map(|seed| noise(seed, 200_000)).collect();
    let node = hand.file("f", &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    hand.finish().await;
    let (mut reader, writer) = io::pipe().unwrap();
    let reading = std::thread::spawn(move || {
        let mut beginning = vec![0; 1000];
        reader.read_exact(&mut beginning).unwrap();
        beginning
    });
    let index = scratch.index().await;
    let dumped = dump_file(&scratch.repository, index, Path::new("/f"), &node, writer).await;
    let Err(Error::Io { operation: "write", source, .. }) = dumped else { panic!("{dumped:?}") };
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(reading.join().unwrap(), blobs[0][..1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_dumped_up_to_the_damage() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let node = hand.file("f", &[b"good", b"bad", b"good again"]);
    hand.finish().await;
    let index = scratch.index().await;
    let location = index.lookup(&BlobHandle::data(Id::of(b"bad"))).next().unwrap();
    scratch.backend.alter(&Handle::new(FileType::Pack, location.pack), |pack| {
        pack[location.entry.offset as usize + 20] ^= 1;
    });
    struct Pieces(mpsc::Sender<Vec<u8>>);
    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.0.send(piece.to_vec()).unwrap();
            Ok(piece.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (pieces, written) = mpsc::channel();
    let path = Path::new("/f");
    let dumped = dump_file(&scratch.repository, index, path, &node, Pieces(pieces)).await;
    assert!(matches!(dumped, Err(Error::Damaged { .. })));
    drop(dumped);
    let written: Vec<u8> = written.iter().flatten().collect();
    assert!(b"good".starts_with(&written[..]));
}

async fn tar(scratch: &Scratch, tree: Id, top: &str) -> restic_repo::Result<(Vec<u8>, u64, u64)> {
    let index = scratch.index().await;
    let top = Path::new(top);
    let tarred = dump_tar(&scratch.repository, index, tree, top, Vec::new(), &Silent).await?;
    Ok((tarred.out, tarred.entries, tarred.errors))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_holds_what_the_folder_holds() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let long = "x".repeat(150);
    let content = noise(3, 100_000);
    let attribute =
        |name: &str, value: &[u8]| ExtendedAttribute { name: name.into(), value: value.to_vec() };
    let acl = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
    let file = with!(hand.file("file", &[&content, b"more"]), mtime: "2020-01-01T00:00:00.6Z".parse().unwrap(), mode: mode(0o4755), uid: 3_000_000_000, gid: 9, user: "somebody".to_owned(), extended_attributes: vec![
        attribute("user.x", b"a=\0\xff"),
        attribute("system.posix_acl_access", &acl),
    ]);
    let old = with!(hand.file("old", &[]), mtime: "1950-01-01T00:00:00Z".parse().unwrap());
    let inner = vec![hand.file(&long, &[b"deep"]), link("link", &long), link("short", "a")];
    let nodes = vec![
        file,
        old,
        hand.folder(&long, inner),
        hand.file(b"n\xff\xc3\xa4", &[b"x"]),
        Node::new("pipe", NodeType::Fifo),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let (bytes, entries, errors) = tar(&scratch, tree, "/srv/folder").await.unwrap();
    assert_eq!((entries, errors), (7, 0));
    assert_eq!(bytes.len() % 512, 0);

    let mut archive = tar::Archive::new(&bytes[..]);
    let mut found = Vec::new();
    let mut records = Vec::new();
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if entry.header().entry_type().is_pax_local_extensions() {
            records = pax_records(&content);
            continue;
        }
        let records = std::mem::take(&mut records);
        let long = |key: &str| {
            records.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone())
        };
        let name = long("path").unwrap_or_else(|| entry.path_bytes().to_vec());
        let short = || entry.link_name_bytes().map(|target| target.to_vec());
        let target = long("linkpath").or_else(short);
        found.push((name, entry.header().clone(), records, target, content));
    }
    let named = |name: &[u8]| {
        found.iter().find(|(found, ..)| found == name).unwrap_or_else(|| panic!("{name:?}"))
    };
    let (_, header, records, _, body) = named(b"srv/folder/file");
    assert!(body[..content.len()] == content && body[content.len()..] == *b"more");
    assert_eq!(header.mode().unwrap(), 0o4755);
    assert_eq!(header.mtime().unwrap(), 1_577_836_801);
    assert_eq!(header.gid().unwrap(), 9);
    assert_eq!(header.username().unwrap(), Some("somebody"));
    let record = |key: &str| {
        records.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_slice())
    };
    assert_eq!(record("uid"), Some(&b"3000000000"[..]));
    assert_eq!(record("SCHILY.xattr.user.x"), Some(&b"a=\0\xff"[..]));
    assert_eq!(record("SCHILY.acl.access"), Some(&b"user::rw-\n"[..]));
    let (_, _, records, ..) = named(b"srv/folder/old");
    assert_eq!(records[..], [("mtime".to_owned(), b"-631152000".to_vec())]);
    let folder = format!("srv/folder/{long}/");
    assert!(named(folder.as_bytes()).1.entry_type().is_dir());
    assert_eq!(named(format!("{folder}{long}").as_bytes()).4, b"deep");
    let (_, header, _, target, _) = named(format!("{folder}link").as_bytes());
    assert!(header.entry_type().is_symlink());
    assert_eq!(target.as_deref(), Some(long.as_bytes()));
    assert_eq!(named(format!("{folder}short").as_bytes()).3.as_deref(), Some(&b"a"[..]));
    assert_eq!(named(b"srv/folder/n\xff\xc3\xa4").4, b"x");
}

/// Records as `10 key=text` and a line end, of which a text may have some of its own.
fn pax_records(mut text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&text[..space]).unwrap().parse().unwrap();
        let (record, rest) = text.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").unwrap();
        let equals = record.iter().position(|byte| *byte == b'=').unwrap();
        let key = String::from_utf8(record[..equals].to_vec()).unwrap();
        records.push((key, record[equals + 1..].to_vec()));
        text = rest;
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_leaves_out_what_is_hostile_or_lost() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let gone = with!(Node::new("gone", NodeType::Dir), subtree: Some(Id::of(b"gone")));
    let inner = hand.file("passwd", &[b"x"]);
    let nodes = vec![
        gone,
        hand.folder("..", vec![inner]),
        hand.file("a/../../b", &[b"x"]),
        with!(Node::new("none", NodeType::File), content: None),
        with!(hand.file("good", &[b"x"]), mode: Mode::default()),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let (bytes, entries, errors) = tar(&scratch, tree, "/").await.unwrap();
    assert_eq!((entries, errors), (2, 4));
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    assert_eq!(names, [&b"gone/"[..], b"good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_never_lies_about_the_length_of_a_file() {
    let scratch = Scratch::new().await;
    for lie in [3, 5] {
        let mut hand = scratch.by_hand().await;
        let node = with!(hand.file("f", &[b"four"]), size: lie);
        let tree = hand.tree(vec![node]);
        hand.finish().await;
        assert!(matches!(tar(&scratch, tree, "/").await, Err(Error::Mismatch { .. })));
    }
}
