//! Sessions with servers that answer nonsense, or too much, or nothing.

use std::future::ready;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use restic_repo::buffers::Buffers;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::transfer;

const DATA: u8 = 103;
const NAME: u8 = 104;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const STAT: u8 = 17;

const PATIENCE: Duration = Duration::from_secs(30);

/// A request as a server gets it: its type, its number and the rest.
type Request = (u8, u32, Vec<u8>);

/// A session with a server that answers with what `answer` gives: whole packets.
async fn session_with(
    answer: impl FnMut(Request) -> Vec<u8> + Send + 'static,
) -> Result<Arc<Session>, Failure> {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve(far, answer));
    Session::begin(near, (), PATIENCE).await
}

async fn serve(mut stream: DuplexStream, mut answer: impl FnMut(Request) -> Vec<u8>) {
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        let answer = match request[0] {
            1 => packet(VERSION, &3_u32.to_be_bytes()),
            kind => {
                let number = u32::from_be_bytes(request[1..5].try_into().unwrap());
                answer((kind, number, request[5..].to_vec()))
            }
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = (body.len() as u32 + 1).to_be_bytes().to_vec();
    packet.push(kind);
    packet.extend_from_slice(body);
    packet
}

/// An answer to this request, with these fields.
fn reply(kind: u8, number: u32, fields: &[&[u8]]) -> Vec<u8> {
    packet(kind, &[&number.to_be_bytes()[..], &fields.concat()].concat())
}

fn status(number: u32, code: u32) -> Vec<u8> {
    reply(STATUS, number, &[&code.to_be_bytes(), &text("text\u{1b}[2J"), &text("en")])
}

fn handle(number: u32) -> Vec<u8> {
    reply(HANDLE, number, &[&text("h")])
}

/// The last four bytes of a READ: how much is wanted.
fn wanted(rest: &[u8]) -> usize {
    u32::from_be_bytes(rest[rest.len() - 4..].try_into().unwrap()) as usize
}

fn data(number: u32, length: usize) -> Vec<u8> {
    reply(DATA, number, &[&(length as u32).to_be_bytes(), &vec![7; length]])
}

async fn permit() -> Permit {
    Arc::new(Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap())
}

fn buffers() -> Buffers {
    Buffers::new(1 << 20)
}

async fn open(session: &Arc<Session>) -> File {
    session.open("file", permit().await).await.unwrap()
}

#[tokio::test]
async fn what_a_server_says_is_understood() {
    for (code, kind) in [
        (2, "NotFound"),
        (3, "Denied"),
        (4, "Refused"),
        (5, "Refused"),
        (8, "Unsupported"),
        (10, "NotFound"),
        (11, "Refused"),
        (12, "ReadOnly"),
        (14, "Full"),
        (15, "Full"),
        (31, "Refused"),
        (0, "Nonsense"),
        (1, "Nonsense"),
        (7, "Lost"),
    ] {
        let session = session_with(move |(_, number, _)| status(number, code)).await.unwrap();
        let failure = session.stat("file").await.unwrap_err();
        assert!(format!("{failure:?}").starts_with(kind), "{code}: {failure:?}");
        assert!(!failure.to_string().contains('\u{1b}'), "{failure}");
        // One refusal ends nothing.
        session.stat("file").await.unwrap_err();
        assert!(!session.is_over());
    }
}

#[tokio::test]
async fn short_reads_are_completed_and_an_early_end_is_too_short() {
    let session = session_with(|(kind, number, rest)| match kind {
        OPEN => handle(number),
        // Never more than 1000 bytes, and the file ends at 100,000.
        READ => {
            let offset = u64::from_be_bytes(rest[5..13].try_into().unwrap()) as usize;
            match 100_000_usize.saturating_sub(offset).min(wanted(&rest)).min(1000) {
                0 => status(number, 1),
                length => data(number, length),
            }
        }
        _ => status(number, 0),
    })
    .await
    .unwrap();
    let file = open(&session).await;
    assert_eq!(transfer::read(&file, 0, 100_000, &buffers()).await.unwrap(), vec![7; 100_000]);
    assert_eq!(transfer::read(&file, 99_999, 1, &buffers()).await.unwrap(), [7][..]);
    for (offset, length) in [(0, 100_001), (100_000, 1), (1, usize::MAX), (u64::MAX, 1)] {
        let failure = transfer::read(&file, offset, length, &buffers()).await.unwrap_err();
        assert!(matches!(failure, Failure::TooShort(_)), "{failure:?}");
    }
}

#[tokio::test]
async fn more_bytes_than_were_asked_for_are_refused() {
    let session = session_with(|(kind, number, rest)| match kind {
        OPEN => handle(number),
        READ => data(number, wanted(&rest) + 1),
        _ => status(number, 0),
    })
    .await
    .unwrap();
    let failure = transfer::read(&open(&session).await, 0, 100, &buffers()).await.unwrap_err();
    assert!(matches!(failure, Failure::Nonsense(_)), "{failure:?}");
}

#[tokio::test]
async fn a_write_that_is_refused_ends_the_transfer() {
    let mut writes = 0;
    let session = session_with(move |(kind, number, _)| match kind {
        OPEN => handle(number),
        WRITE => {
            writes += 1;
            status(number, if writes == 10 { 4 } else { 0 })
        }
        _ => status(number, 0),
    })
    .await
    .unwrap();
    let (file, data) = (open(&session).await, vec![7; 4 << 20]);
    let failure = transfer::write(&file, &data, Box::pin(ready(Ok(())))).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
}

#[tokio::test]
async fn what_is_asked_behind_a_write_follows_its_last_piece_and_closing_comes_before_what_is_next()
{
    let (told, kinds) = std::sync::mpsc::channel();
    let session = session_with(move |(kind, number, _)| {
        told.send(kind).unwrap();
        match kind {
            OPEN => handle(number),
            _ => status(number, 0),
        }
    })
    .await
    .unwrap();
    let (file, data) = (open(&session).await, vec![7; 5 << 20]);
    transfer::write(&file, &data, Box::pin(file.set_mode(0o400))).await.unwrap();
    let closing = file.close();
    session.remove("file").await.unwrap();
    closing.await.unwrap();
    let kinds: Vec<u8> = kinds.try_iter().collect();
    let writes = [WRITE; (5 << 20) / (32 << 10)];
    assert_eq!(kinds, [&[OPEN][..], &writes, &[FSETSTAT, CLOSE, REMOVE]].concat());
}

#[tokio::test(start_paused = true)]
async fn answers_to_what_nobody_asked_are_passed_over_and_the_wait_ends() {
    let session = session_with(|(_, number, _)| status(number.wrapping_add(1000), 0)).await;
    let failure = session.unwrap().stat("file").await.unwrap_err();
    assert!(failure.to_string().contains("has not answered for 30 seconds"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let (near, _far) = tokio::io::duplex(1 << 20);
    let failure = Session::begin(near, (), PATIENCE).await.unwrap_err();
    assert!(failure.to_string().contains("has not answered for 30 seconds"), "{failure}");

    let session = session_with(|_| Vec::new()).await.unwrap();
    let begun = tokio::time::Instant::now();
    session.stat("file").await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE * 2);
}

#[tokio::test]
async fn answers_of_the_wrong_kind_and_damaged_ones_are_errors() {
    let answers: [fn(u32) -> Vec<u8>; 7] = [
        handle,
        |number| data(number, 10),
        // A length of nearly 4 GiB, and the data is one byte.
        |number| reply(DATA, number, &[&[0xff, 0xff, 0xff, 0xf0, 7]]),
        // A packet of 4 GiB.
        |_| vec![0xff, 0xff, 0xff, 0xff, DATA, 0, 0, 0, 0],
        // Two thousand million names, and none is there.
        |number| reply(NAME, number, &[&[0x7f, 0xff, 0xff, 0xff]]),
        |_| packet(99, b"what is this?"),
        |_| packet(105, b""),
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let session = session_with(move |(_, number, _)| answer(number)).await.unwrap();
        let failure = session.stat("file").await.unwrap_err();
        let known = matches!(failure, Failure::Lost(_) | Failure::Nonsense(_));
        assert!(known, "{index}: {failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn versions_that_cannot_be_are_refused() {
    for answer in [packet(VERSION, &2_u32.to_be_bytes()), packet(VERSION, b""), status(0, 4)] {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&answer).await.unwrap();
        Session::begin(near, (), PATIENCE).await.unwrap_err();
    }
}

/// A server that has folders, in which there is what `names` gives, again and again.
async fn folder_with(
    mut names: impl FnMut() -> Option<Vec<&'static str>> + Send + 'static,
) -> Arc<Session> {
    let session = session_with(move |(kind, number, _)| match kind {
        OPENDIR => handle(number),
        READDIR => match names() {
            None => status(number, 1),
            Some(names) => {
                let count = (names.len() as u32).to_be_bytes();
                let entry = |name: &&str| [text(name), text(""), vec![0; 4]].concat();
                reply(
                    NAME,
                    number,
                    &[&count, &names.iter().map(entry).collect::<Vec<_>>().concat()],
                )
            }
        },
        STAT => status(number, 2),
        _ => {
            let attributes =
                [&5_u32.to_be_bytes()[..], &1234_u64.to_be_bytes(), &0o100_400_u32.to_be_bytes()];
            reply(105, number, &attributes)
        }
    });
    session.await.unwrap()
}

async fn list(session: &Arc<Session>) -> Result<Vec<restic_repo::backend::FileInfo>, Failure> {
    let layout = crate::layout::Layout::new("/r");
    crate::listing::list(session, &layout, restic_repo::FileType::Key, &permit().await).await
}

#[tokio::test]
async fn names_without_end_end() {
    for names in [vec![], vec!["no id"; 10_000]] {
        let session = folder_with(move || Some(names.clone())).await;
        let failure = list(&session).await.unwrap_err();
        assert!(failure.to_string().contains("names"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_tells_no_sizes_is_asked_for_them() {
    let id = "1234567890123456789012345678901234567890123456789012345678901234";
    let mut lots = vec![vec![id, "..", "no id"]];
    let session = folder_with(move || lots.pop()).await;
    let listed = list(&session).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id.to_hex().to_string().as_str(), listed[0].size), (id, 1234));
}

#[tokio::test]
async fn a_small_folder_is_asked_for_names_twice_and_a_large_one_until_there_are_no_more() {
    let id = "1234567890123456789012345678901234567890123456789012345678901234";
    for (many, requests) in [(0, 2), (1, 2), (50, 51)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let mut lots = vec![vec![id]; many];
        let session = folder_with(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            lots.pop()
        });
        let listed = list(&session.await).await.unwrap();
        assert_eq!(listed.len(), many);
        let asked = asked.load(Ordering::Relaxed);
        // Of a large one a few more are asked for, since nobody knows where it ends.
        assert!(asked == requests || many > 1 && asked < requests + 10, "{many}: {asked}");
    }
}

#[tokio::test]
async fn a_handle_that_the_library_mangles_is_told() {
    let answer = |(_, number, _)| reply(HANDLE, number, &[&[0, 0, 0, 1, 0x80]]);
    let session = session_with(answer).await.unwrap();
    let Err(failure) = session.open("file", permit().await).await else { panic!("it is open") };
    assert!(failure.to_string().contains("in a way that is not supported"), "{failure}");
}

#[tokio::test]
async fn a_turn_ends_with_what_was_read_or_with_the_file() {
    let session = session_with(|(kind, number, _)| match kind {
        OPEN => handle(number),
        _ => status(number, 0),
    })
    .await
    .unwrap();
    let turns = Arc::new(Semaphore::new(1));
    let turn = async || Arc::new(Arc::clone(&turns).acquire_owned().await.unwrap());
    let mut read = open(&session).await;
    read.begin_turn(turn().await);
    read.end_turn();
    assert_eq!(turns.available_permits(), 1, "it is still open");
    let mut dropped = open(&session).await;
    dropped.begin_turn(turn().await);
    drop(dropped);
    assert_eq!(turns.available_permits(), 0, "the server may still be sending");
    tokio::time::timeout(Duration::from_secs(10), turn()).await.expect("the file is closed");
}
