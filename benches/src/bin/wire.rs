//! Stores and loads files of a pack's size over SFTP: what the wire gives, with nothing else in the way.
//!
//! `wire SSH_CONFIG LOCATION [FILES] [MIB] [SESSIONS] [TRANSFERS]`. Random bytes in files of that many
//! mebibytes are stored as packs and loaded again, so many at once over so many connections. What is
//! printed is mebibytes a second, without the time that connecting takes, and CPU seconds of this process.
//! OpenSSH's counterpart is `sftp -b`, with `put` and `get` of as many files.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use one_restic_benches::data::random;
use one_restic_benches::usage::{cpu_seconds, mebibytes, peak};
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle, Id};
use restic_sftp::{ConfigFiles, Connector, Location, Options, Sftp, User};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize, default| arguments.get(n).map_or(Ok(default), |text| text.parse());
    let [config, location] = arguments.get(..2).unwrap_or_default() else {
        return Err("which ssh_config, and which location?".into());
    };
    let (files, size) = (number(2, 32)?, number(3, 16)? << 20);
    let defaults = Options::default();
    let (sessions, connections) = (number(4, defaults.sessions)?, number(5, defaults.connections)?);
    let location = Location::parse(location)?;
    let config = ConfigFiles::Only(PathBuf::from(config));
    let connector = Connector::new(&location, &config, &User::current()?)?;
    let options = Options { sessions, connections, ..defaults };
    let begun = Instant::now();
    let sftp = &Sftp::connect(&location, connector, options).await?;
    println!("connected in {:.3} s", begun.elapsed().as_secs_f64());
    sftp.create().await?;
    let data = &Bytes::from(random(size));
    let packs = || (0..files).map(|n| Handle::new(FileType::Pack, pack(n)));

    let begun = (Instant::now(), cpu_seconds());
    let saves = packs().map(|pack| async move { sftp.save(&pack, data.clone()).await });
    stream::iter(saves).buffer_unordered(connections).try_collect::<()>().await?;
    report("up", files * size, begun);

    let begun = (Instant::now(), cpu_seconds());
    let loads = packs().map(|pack| async move { sftp.load(&pack, Extent::Whole).await });
    let loads = stream::iter(loads).buffer_unordered(connections);
    let wrong = loads.try_filter(|found| std::future::ready(found != data)).try_collect::<Vec<_>>();
    assert!(wrong.await?.is_empty(), "what was loaded is what was stored");
    report("down", files * size, begun);

    println!("peak {:.0} MiB", mebibytes(peak()?));
    sftp.demolish().await?;
    Ok(())
}

/// Names spread over the folders, as those of packs are.
fn pack(n: usize) -> Id {
    let mut id = [0; 32];
    id[0] = n as u8;
    id[1..9].copy_from_slice(&n.to_be_bytes());
    Id::from_bytes(id)
}

fn report(what: &str, bytes: usize, (begun, cpu): (Instant, f64)) {
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{what} {:.0} MiB/s ({seconds:.2} s, {cpu:.2} CPU s)", mebibytes(bytes) / seconds);
}
