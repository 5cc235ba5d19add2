//! A backup image: OpenNebula's record of one full backup and the increments that follow it.

use crate::exit::{Failure, Result};
use crate::opennebula::datastore::RepositoryId;
use crate::opennebula::element::Element;
use crate::opennebula::increments::{Increment, Increments};

/// A backup image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its number.
    pub id: u64,
    /// The VM that it is a backup of.
    pub vm: u64,
    /// The backup job that made it.
    pub job: Option<u64>,
    /// Whether its disks are in Ceph's format.
    pub is_rbd: bool,
    /// What it is made of.
    pub increments: Increments,
}

impl Image {
    /// Reads an `IMAGE` of OpenNebula's.
    pub fn parse(image: Element<'_>) -> Result<Self> {
        let increments = image.all("BACKUP_INCREMENTS/INCREMENT");
        let increments = increments.map(|increment| {
            let (id, snapshot) = (increment.required_number("ID")?, increment.required("SOURCE")?);
            Ok(Increment { id, snapshot: snapshot.to_owned() })
        });
        let mut increments: Vec<_> = increments.collect::<Result<_>>()?;
        if increments.is_empty() {
            // Once there are increments, SOURCE may name a snapshot that is long gone.
            increments.push(Increment { id: 0, snapshot: image.required("SOURCE")?.to_owned() });
        }
        let id = image.required_number("ID")?;
        let vm = image.number("VMS/ID")?.ok_or_else(|| {
            Failure::new(format_args!("image {id} does not say which VM it is a backup of"))
        })?;
        Ok(Self {
            id,
            vm,
            job: job(image)?,
            is_rbd: image.text("FORMAT") == Some("rbd"),
            increments: Increments::new(increments)?,
        })
    }

    /// Its increments up to one of them, or all.
    pub fn increments_up_to(&self, increment: Option<u64>) -> Result<Increments> {
        match increment {
            Some(id) => self.increments.up_to(id),
            None => Ok(self.increments.clone()),
        }
    }

    /// The repository that it is in.
    pub fn repository(&self) -> RepositoryId {
        RepositoryId::new(self.vm, self.job)
    }
}

/// The backup job of an `IMAGE`; a number below zero stands for none. It is in the image's template, but
/// for an image that is only just being made.
pub fn job(image: Element<'_>) -> Result<Option<u64>> {
    let job: Option<i64> = match image.number("TEMPLATE/BACKUP_JOB_ID")? {
        Some(job) => Some(job),
        None => image.number("BACKUP_JOB_ID")?,
    };
    Ok(job.and_then(|job| u64::try_from(job).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opennebula::element;

    fn image(inner: &str) -> Result<Image> {
        let text = format!("<IMAGE><ID>3</ID><VMS><ID>1</ID></VMS>{inner}</IMAGE>");
        let document = element::parse(&text).unwrap();
        Image::parse(Element::top(&document))
    }

    #[test]
    fn an_image_without_increments_has_its_source() {
        let image = image("<SOURCE>66c01fd7</SOURCE><FORMAT>raw</FORMAT>").unwrap();
        assert_eq!(image.increments.to_string(), "0:66c01fd7");
        assert_eq!(image.repository().to_string(), "1");
        assert!(!image.is_rbd);
    }

    #[test]
    fn a_source_beside_increments_is_stale() {
        let image = image(
            "<SOURCE>1c281054</SOURCE><FORMAT>rbd</FORMAT><TEMPLATE><BACKUP_JOB_ID>7</BACKUP_JOB_ID></TEMPLATE>\
             <BACKUP_INCREMENTS><INCREMENT><ID>2</ID><SOURCE>a4df2746</SOURCE></INCREMENT>\
             <INCREMENT><ID>3</ID><SOURCE>a82ecfeb</SOURCE></INCREMENT></BACKUP_INCREMENTS>",
        )
        .unwrap();
        assert_eq!(image.increments.to_string(), "2:a4df2746,3:a82ecfeb");
        assert_eq!(image.repository().to_string(), "job_7");
        assert!(image.is_rbd);
    }

    #[test]
    fn an_image_that_makes_no_sense_is_refused() {
        for inner in [
            "",
            "<SOURCE>$(id)</SOURCE>",
            "<SOURCE>66c01fd7</SOURCE><BACKUP_JOB_ID>x</BACKUP_JOB_ID>",
        ] {
            assert!(image(inner).is_err(), "{inner}");
        }
        assert_eq!(
            image("<SOURCE>66c01fd7</SOURCE><BACKUP_JOB_ID>-1</BACKUP_JOB_ID>").unwrap().job,
            None
        );
    }
}
