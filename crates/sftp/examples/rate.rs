//! How fast files go to a server and come back: `rate SSH-CONFIG LOCATION [CONNECTIONS
//! [SESSIONS [FILES [MIB]]]]`, the location as in `sftp:host:folder`, which is made for it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example prints, and stops at errors"
)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle, Id};
use restic_sftp::{ConfigFiles, Connector, Location, Options, Sftp, User};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, location, rest @ ..] = &arguments[..] else {
        panic!("see the top of this file for the arguments")
    };
    let number = |index: usize, usual| rest.get(index).map_or(usual, |text| text.parse().unwrap());
    let (connections, sessions) = (number(0, 5), number(1, 4));
    let (files, mib) = (number(2, 32), number(3, 16));
    let location = Location::parse(location).unwrap();
    let config = ConfigFiles::Only(config.into());
    let connector = Connector::new(&location, &config, &User::current().unwrap()).unwrap();
    let options = Options { connections, sessions, ..Options::default() };
    let began = Instant::now();
    let sftp = Arc::new(Sftp::connect(&location, connector, options).await.unwrap());
    println!("connected in {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    let began = Instant::now();
    sftp.create().await.unwrap();
    println!("created in {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);

    let data: Bytes = vec![0x5a; mib << 20].into();
    let handle = |number: u64| Handle::new(FileType::Pack, Id::of(&number.to_be_bytes()));
    let numbers = || stream::iter(0..files as u64);
    let measure = |what: &str, began: Instant, cpu: f64| {
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let megabytes = (files * mib) as f64 * 1.048_576;
        println!(
            "{what}: {:.0} MB/s, {:.0} MB a CPU second of ours",
            megabytes / wall,
            megabytes / cpu
        );
    };

    let (began, cpu) = (Instant::now(), cpu_seconds());
    let saves = numbers().map(|number| {
        let (sftp, data) = (Arc::clone(&sftp), data.clone());
        async move { tokio::spawn(async move { sftp.save(&handle(number), data).await }).await }
    });
    saves.buffer_unordered(connections).map_ok(Result::unwrap).try_collect::<()>().await.unwrap();
    measure("up", began, cpu);

    let (began, cpu) = (Instant::now(), cpu_seconds());
    let loads =
        numbers().map(|number| {
            let sftp = Arc::clone(&sftp);
            async move {
                tokio::spawn(async move { sftp.load(&handle(number), Extent::Whole).await }).await
            }
        });
    let loads = loads.buffer_unordered(connections);
    loads
        .map_ok(|data| assert_eq!(data.unwrap().len(), mib << 20))
        .try_collect::<()>()
        .await
        .unwrap();
    measure("down", began, cpu);

    let began = Instant::now();
    let listed = sftp.list(FileType::Pack).await.unwrap().len();
    println!("listed {listed} packs in {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    numbers()
        .for_each_concurrent(16, |number| {
            let sftp = Arc::clone(&sftp);
            async move { sftp.remove(&handle(number)).await.unwrap() }
        })
        .await;
}

/// What this process has used so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
