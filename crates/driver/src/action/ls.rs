//! `ls`: where the disks of a backup are, for a restore in place.

use std::sync::Arc;

use serde::Serializer;

use crate::action::repository::BackupRepository;
use crate::exit::{Failure, Result};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::Datastore;
use crate::opennebula::disk_file::DiskFile;
use crate::opennebula::image::Image;
use crate::opennebula::increments::Increments;
use crate::opennebula::url::Url;
use crate::session::Session;

/// Prints JSON with the URL of each disk, as of one increment, or of the last.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let increment = increment(arguments)?;
    let data = ActionData::of_stdin().await?;
    let document = data.document()?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let image = Image::parse(part(&document, "IMAGE")?)?;
    let increments = image.increments_up_to(increment)?;
    let repository = BackupRepository::open(session, &datastore, image.repository()).await?;
    let snapshot = repository.newest(&increments).await?;
    let urls = disk_urls(&image, &datastore, &increments, &snapshot.paths)?;
    let urls = urls.iter().map(|(disk, url)| (disk, url.to_string()));
    let mut json = Vec::new();
    serde_json::Serializer::new(&mut json)
        .collect_map(urls)
        .map_err(|error| Failure::new(format_args!("cannot write the list of disks: {error}")))?;
    Arc::clone(&session.terminal).print(json);
    Ok(())
}

/// The disks in a snapshot of an image, and the URL of each.
pub fn disk_urls(
    image: &Image,
    datastore: &Datastore,
    increments: &Increments,
    paths: &[String],
) -> Result<Vec<(String, Url)>> {
    let url = |file: DiskFile<'_>| {
        let url = Url {
            is_rbd: image.is_rbd,
            datastore: datastore.id,
            job: image.job,
            increments: increments.clone(),
            path: file.path.to_owned(),
        };
        // A repository that somebody else can write to may name anything.
        Url::parse(&url.to_string())?;
        Ok((file.disk.to_owned(), url))
    };
    let urls: Vec<_> = DiskFile::among(paths).map(url).collect::<Result<_>>()?;
    match urls.is_empty() {
        true => Err(Failure::new(format_args!(
            "Backup does not contain any disks: there is none in snapshot {}",
            increments.last().snapshot
        ))),
        false => Ok(urls),
    }
}

/// The number behind `-i`; -1 stands for the last increment.
fn increment(arguments: &[String]) -> Result<Option<u64>> {
    let usage = || Failure::new("ls takes -i and the number of an increment, or -1 for the last");
    let text = match arguments {
        [] => return Ok(None),
        [option, text] if option == "-i" || option == "--increment" => text,
        [option] => option
            .strip_prefix("--increment=")
            .or_else(|| option.strip_prefix("-i"))
            .ok_or_else(usage)?,
        _ => return Err(usage()),
    };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(id) => u64::try_from(id).map(Some).map_err(|_| usage()),
        Err(_) => Err(usage()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_increment_is_a_number_or_the_last() {
        let parse = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            increment(&words).ok()
        };
        assert_eq!(parse(&[]), Some(None));
        assert_eq!(parse(&["-i", "-1"]), Some(None));
        assert_eq!(parse(&["-i", "4"]), Some(Some(4)));
        assert_eq!(parse(&["-i4"]), Some(Some(4)));
        assert_eq!(parse(&["--increment=0"]), Some(Some(0)));
        for words in [&["-i"][..], &["-i", "x"], &["-i", "-2"], &["4"], &["-i", "1", "2"]] {
            assert_eq!(parse(words), None, "{words:?}");
        }
    }
}
