//! What the actions ask OpenNebula itself for.

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::opennebula::auth::{self, ServerAdmin};
use crate::opennebula::datastore::Datastore;
use crate::opennebula::element::{self, Document, Element};
use crate::opennebula::image;
use crate::opennebula::installation::Installation;
use crate::opennebula::xmlrpc::{CallError, Client, Value};
use crate::password::Secret;

/// OpenNebula's API, used as the user whom this program runs for.
#[derive(Debug)]
pub struct Api {
    client: Client,
    session: Secret,
}

impl Api {
    /// The API, and the user, that the environment names.
    pub fn of(environment: &Environment) -> Result<Self> {
        let installation = Installation::of(environment);
        Ok(Self {
            client: Client::of(environment, &installation)?,
            session: auth::own_session(environment, &installation)?,
        })
    }

    /// A datastore, with its secrets.
    pub async fn datastore(&self, id: u64) -> Result<Datastore> {
        let arguments = vec![number(id)?, Value::Bool(true)];
        let told = self.client.call("one.datastore.info", &self.session, arguments).await;
        match told.map_err(|error| failure(&format!("datastore {id} is not known"), error))? {
            Value::Text(text) => {
                let text = Secret::new(text);
                Datastore::parse(Element::top(&parse(text.reveal())?))
            }
            _ => Err(Failure::new("OpenNebula does not describe the datastore")),
        }
    }

    /// The numbers of all datastores with this driver.
    pub async fn datastores(&self, driver: &str) -> Result<Vec<u64>> {
        let pool = self.pool("one.datastorepool.info").await?;
        let document = parse(pool.reveal())?;
        let all = Element::top(&document).all("DATASTORE");
        let ours = all.filter(|datastore| datastore.text("DS_MAD") == Some(driver));
        ours.map(|datastore| datastore.required_number("ID")).collect()
    }

    /// The names of all hosts that work.
    pub async fn hosts(&self) -> Result<Vec<String>> {
        let pool = self.pool("one.hostpool.info").await?;
        let document = parse(pool.reveal())?;
        let all = Element::top(&document).all("HOST");
        let working = all.filter(|host| host.text("STATE") == Some(MONITORED));
        working.map(|host| host.required("NAME").map(str::to_owned)).collect()
    }

    async fn pool(&self, method: &'static str) -> Result<Secret> {
        match self.client.call(method, &self.session, Vec::new()).await {
            Ok(Value::Text(text)) => Ok(Secret::new(text)),
            Ok(_) => Err(Failure::new(format_args!("OpenNebula does not answer {method}"))),
            Err(error) => Err(failure("OpenNebula does not tell what it has", error)),
        }
    }

    /// The backup job that made a backup image, if one did.
    pub async fn backup_job_of(&self, image: u64) -> Result<Option<u64>> {
        let arguments = vec![number(image)?, Value::Bool(false)];
        let told = self.client.call("one.image.info", &self.session, arguments).await;
        match told.map_err(|error| failure(&format!("image {image} is not known"), error))? {
            Value::Text(text) => {
                let document = parse(&text)?;
                image::job(Element::top(&document))
            }
            _ => Err(Failure::new("OpenNebula does not describe the image")),
        }
    }
}

/// The state of a host that is in use.
const MONITORED: &str = "2";

fn parse(text: &str) -> Result<Document<'_>> {
    element::parse(text).map_err(|error| {
        Failure::new(format_args!("what OpenNebula answers makes no sense: {error}"))
    })
}

/// OpenNebula's API, used in the name of somebody else.
#[derive(Debug)]
pub struct UserApi {
    client: Client,
    admin: ServerAdmin,
    user: String,
}

impl UserApi {
    /// The API that the environment names, for a user.
    pub fn of(environment: &Environment, user: &str) -> Result<Self> {
        let installation = Installation::of(environment);
        let admin = ServerAdmin::load(environment, &installation)?;
        admin.session_as(user)?; // so that a name that cannot be one is refused at once
        Ok(Self { client: Client::of(environment, &installation)?, admin, user: user.to_owned() })
    }

    /// Makes an image in a datastore, and gives its number. What is in it may still be on its way then.
    pub async fn allocate_image(&self, template: String, datastore: u64) -> Result<u64> {
        let arguments = vec![Value::Text(template), number(datastore)?, Value::Bool(false)];
        let made = self.call("one.image.allocate", arguments).await;
        made.and_then(id).map_err(|error| failure("Error restoring disk image", error))
    }

    /// Makes a template for VMs, and gives its number.
    pub async fn allocate_template(&self, template: String) -> Result<u64> {
        let made = self.call("one.template.allocate", vec![Value::Text(template)]).await;
        made.and_then(id).map_err(|error| failure("Error creating VM template", error))
    }

    /// What has become of an image: `STATE` as OpenNebula numbers it.
    pub async fn image_state(&self, image: u64) -> Result<u64> {
        let told = self.call("one.image.info", vec![number(image)?, Value::Bool(false)]).await;
        match told.map_err(|error| failure("an image is not known", error))? {
            Value::Text(text) => {
                let document = element::parse(&text).map_err(|error| {
                    Failure::new(format_args!("an image makes no sense: {error}"))
                })?;
                Element::top(&document).required_number("STATE")
            }
            _ => Err(Failure::new("OpenNebula does not describe the image")),
        }
    }

    /// Removes an image. OpenNebula refuses to, if somebody uses it.
    pub async fn delete_image(&self, image: u64) -> Result {
        let removed = self.call("one.image.delete", vec![number(image)?]).await;
        removed.map(drop).map_err(|error| failure("an image cannot be removed", error))
    }

    async fn call(&self, method: &'static str, arguments: Vec<Value>) -> Result<Value, CallError> {
        let session = self.admin.session_as(&self.user);
        let session = session.map_err(|failure| CallError::Failed(failure.to_string()))?;
        self.client.call(method, &session, arguments).await
    }
}

fn number(id: u64) -> Result<Value> {
    match i32::try_from(id) {
        Ok(id) => Ok(Value::Int(id.into())),
        Err(_) => Err(Failure::new(format_args!("{id} is not a number that OpenNebula gives"))),
    }
}

fn id(value: Value) -> Result<u64, CallError> {
    let id = match value {
        Value::Int(id) => u64::try_from(id).ok(),
        _ => None,
    };
    id.ok_or_else(|| CallError::Failed("OpenNebula gives no number for it".to_owned()))
}

fn failure(what: &str, error: CallError) -> Failure {
    let (CallError::Refused(why) | CallError::Failed(why)) = error;
    Failure::new(format_args!("{what}: {why}"))
}
