//! `restore`: makes images, and a template for a VM, of a backup.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use restic_repo::snapshot::Snapshot;
use tokio::time::Instant;

use crate::action::ls::disk_urls;
use crate::action::repository::BackupRepository;
use crate::exit::{Failure, Result};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::api::UserApi;
use crate::opennebula::datastore::Datastore;
use crate::opennebula::description::Description;
use crate::opennebula::disk_file::TPM;
use crate::opennebula::element::Element;
use crate::opennebula::image::Image;
use crate::opennebula::increments::SHORT_ID;
use crate::opennebula::restored::{VmRestore, image_template};
use crate::opennebula::url::Url;
use crate::report::terminal::Terminal;
use crate::session::Session;

/// Longer than the state of any TPM. All of it becomes part of a template.
const MAX_TPM_STATE: u64 = 16 << 20;

/// How long to wait until an image that was made in vain can be removed. OpenNebula itself waits for this
/// action for three minutes in all.
const TIDY_TIME: Duration = Duration::from_secs(20);

/// How often to look.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// An image that is being made.
const INIT: u64 = 0;
/// An image whose content is there, and that nobody uses.
const READY: u64 = 1;
/// An image whose content is on its way.
const LOCKED: u64 = 4;
/// An image whose content could not be brought.
const ERROR: u64 = 5;

/// Makes an image of each disk, and a template of the VM, in the name of the user who asked for it. Prints
/// the number of the template, or -1, and those of the images.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let data = ActionData::of_call(arguments).await?;
    let document = data.document()?;
    let request = Request::parse(Element::top(&document))?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let image = Image::parse(part(&document, "IMAGE")?)?;
    let increments = image.increments_up_to(request.increment)?;
    let api = UserApi::of(&session.environment, &request.user)?;

    let repository = BackupRepository::open(session, &datastore, image.repository()).await?;
    let snapshot = repository.newest(&increments).await?;
    let urls = disk_urls(&image, &datastore, &increments, &snapshot.paths)?;
    let (description, tpm_state) = look(&repository, &snapshot, &urls).await?;
    let document = description.document()?;
    let vm = Element::top(&document);
    let name = match request.name {
        Some(name) => name,
        None => {
            let snapshot = &increments.last().snapshot;
            let short = &snapshot[..SHORT_ID.min(snapshot.len())];
            format!("{}-{short}", vm.required("ID")?)
        }
    };
    let urls: Vec<_> = urls
        .into_iter()
        .filter(|(disk, _)| disk != TPM && request.disk.as_ref().is_none_or(|only| only == disk))
        .collect();
    if let (true, Some(disk)) = (urls.is_empty(), &request.disk) {
        return Err(Failure::new(format_args!("the backup has no disk {disk}")));
    }

    let mut made = Made { api: &api, images: Vec::new() };
    let mut images = HashMap::new();
    for (disk, url) in &urls {
        let template = image_template(&format!("{name}-disk-{disk}"), disk, url);
        let number = made.image(template, request.destination).await?;
        images.insert(disk.clone(), number);
    }
    let template = match request.disk {
        Some(_) => "-1".to_owned(),
        None => {
            let restore = VmRestore { name, no_ip: request.no_ip, no_nic: request.no_nic, images };
            let (template, missing) = restore.template(vm);
            warn_of_missing(&session.terminal, &missing);
            let mut template = template.to_string();
            if let Some(state) = tpm_state {
                template.push_str(&format!("TPM_STATE = \"{state}\"\n"));
            }
            made.template(template).await?.to_string()
        }
    };
    let numbers = made.images.iter().map(|image| format!(" {image}"));
    session.terminal.print(format!("{template}{}", numbers.collect::<String>()));
    Ok(())
}

/// What the user asked for.
struct Request {
    user: String,
    destination: u64,
    increment: Option<u64>,
    disk: Option<String>,
    name: Option<String>,
    no_ip: bool,
    no_nic: bool,
}

impl Request {
    fn parse(top: Element<'_>) -> Result<Self> {
        let is_yes = |path| top.text(path).is_some_and(|text| text.eq_ignore_ascii_case("yes"));
        // A number below zero stands for none.
        let number = |path| {
            let number: Option<i64> = top.number(path)?;
            Ok::<_, Failure>(number.and_then(|number| u64::try_from(number).ok()))
        };
        let disk = number("TEMPLATE/DISK_ID")?;
        Ok(Self {
            user: top.required("TEMPLATE/USERNAME")?.to_owned(),
            destination: top.required_number("DESTINATION_DS_ID")?,
            increment: number("TEMPLATE/INCREMENT_ID")?,
            disk: disk.map(|disk| disk.to_string()),
            name: top.text("TEMPLATE/NAME").map(str::to_owned),
            no_ip: is_yes("TEMPLATE/NO_IP"),
            no_nic: is_yes("TEMPLATE/NO_NIC"),
        })
    }
}

/// What the backup says about the VM, and the state of its TPM.
async fn look(
    repository: &BackupRepository,
    snapshot: &Snapshot,
    urls: &[(String, Url)],
) -> Result<(Description, Option<String>)> {
    let tpm = urls.iter().find(|(disk, _)| disk == TPM).map(|(_, url)| &url.path);
    repository
        .look(async |index| {
            let description = repository.description(&index, snapshot).await?;
            let Some(path) = tpm else { return Ok((description, None)) };
            let state = repository.read(&index, snapshot, path, MAX_TPM_STATE).await?;
            Ok((description, Some(BASE64_STANDARD.encode(state))))
        })
        .await
}

fn warn_of_missing(terminal: &Arc<Terminal>, missing: &[String]) {
    if !missing.is_empty() {
        terminal.error(format!(
            "the backup has no disk {}, so the template has none either",
            missing.join(", ")
        ));
    }
}

/// What was made so far: of no use to anybody, should the rest fail.
struct Made<'a> {
    api: &'a UserApi,
    images: Vec<u64>,
}

impl Made<'_> {
    async fn image(&mut self, template: String, datastore: u64) -> Result<u64> {
        match self.api.allocate_image(template, datastore).await {
            Ok(image) => {
                self.images.push(image);
                Ok(image)
            }
            Err(failure) => Err(self.undo(failure).await),
        }
    }

    async fn template(&mut self, template: String) -> Result<u64> {
        match self.api.allocate_template(template).await {
            Ok(template) => Ok(template),
            Err(failure) => Err(self.undo(failure).await),
        }
    }

    /// Removes the images, where that does no harm, and says what became of them.
    async fn undo(&mut self, failure: Failure) -> Failure {
        let deadline = Instant::now() + TIDY_TIME;
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for image in std::mem::take(&mut self.images) {
            match self.remove(image, deadline).await {
                true => removed.push(image.to_string()),
                false => left.push(image.to_string()),
            }
        }
        let mut message = failure.cause().to_owned();
        if !removed.is_empty() {
            let removed = removed.join(" ");
            message.push_str(&format!("; these images were made and removed again: {removed}"));
        }
        if !left.is_empty() {
            let left = left.join(" ");
            message.push_str(&format!(
                " The following images were restored: {left} (remove them with oneimage delete)"
            ));
        }
        Failure::with_code(failure.code(), message)
    }

    /// Removes an image. While its content is on its way, that would leave files behind that nobody knows of.
    async fn remove(&self, image: u64, deadline: Instant) -> bool {
        loop {
            match self.api.image_state(image).await {
                Ok(READY | ERROR) => return self.api.delete_image(image).await.is_ok(),
                Ok(INIT | LOCKED) if Instant::now() < deadline => {
                    tokio::time::sleep(TIDY_INTERVAL).await
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opennebula::element;

    fn request(inner: &str) -> Result<Request> {
        let text = format!(
            "<D><IMAGE><TEMPLATE><NAME>no</NAME></TEMPLATE></IMAGE><DESTINATION_DS_ID>101</DESTINATION_DS_ID>\
             <TEMPLATE>{inner}</TEMPLATE></D>"
        );
        let document = element::parse(&text).unwrap();
        Request::parse(Element::top(&document))
    }

    #[test]
    fn what_the_user_wants_is_in_the_template_of_the_action() {
        let bare = request("<USERNAME>ada</USERNAME>").unwrap();
        assert_eq!((bare.user.as_str(), bare.destination, &bare.name), ("ada", 101, &None));
        assert!(!bare.no_ip && !bare.no_nic && bare.increment.is_none() && bare.disk.is_none());
        let all = request(
            "<USERNAME>ada</USERNAME><NAME>x</NAME><NO_IP>yes</NO_IP><NO_NIC>YES</NO_NIC>\
             <INCREMENT_ID>2</INCREMENT_ID><DISK_ID>1</DISK_ID>",
        )
        .unwrap();
        assert_eq!((all.name.as_deref(), all.disk.as_deref()), (Some("x"), Some("1")));
        assert_eq!((all.increment, all.no_ip, all.no_nic), (Some(2), true, true));
        let none = "<USERNAME>a</USERNAME><DISK_ID>-1</DISK_ID><INCREMENT_ID>-1</INCREMENT_ID>";
        let none = request(none).unwrap();
        assert!(none.disk.is_none() && none.increment.is_none());
        for inner in ["", "<USERNAME>a</USERNAME><DISK_ID>x</DISK_ID>"] {
            assert!(request(inner).is_err(), "{inner}");
        }
    }
}
