//! Calls of OpenNebula's API, over XML-RPC.

use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::opennebula::element::{self, Element};
use crate::opennebula::installation::Installation;
use crate::password::Secret;

/// Where the API is, unless something else is said.
const DEFAULT_ENDPOINT: &str = "http://localhost:2633/RPC2";

/// How long a call may take: to make an image, OpenNebula asks its driver for the size, and gives that 90
/// seconds.
const TIMEOUT: Duration = Duration::from_secs(150);

/// How long it may take to get through to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longer than any answer.
const MAX_ANSWER: u64 = 64 << 20;

/// OpenNebula's API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    agent: Agent,
}

/// Something that a call takes or gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// OpenNebula refused, and says why.
    Refused(String),
    /// It could not be asked, or did not answer as it should.
    Failed(String),
}

impl Client {
    /// The API that the environment names, or a file in the home folder.
    pub fn of(environment: &Environment, installation: &Installation) -> Result<Self> {
        let home =
            environment.value("HOME").map(|home| std::path::PathBuf::from(home).join(".one"));
        let folders = [home, Some(installation.var.join(".one"))];
        let in_file = || {
            let files = folders.into_iter().flatten().map(|folder| folder.join("one_endpoint"));
            let mut texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
            texts.find(|text| !text.trim().is_empty())
        };
        let endpoint = environment.text("ONE_XMLRPC").or_else(in_file);
        let endpoint = endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT).trim();
        let timeout = environment.text("ONE_XMLRPC_TIMEOUT").and_then(|text| text.parse().ok());
        let timeout = timeout.filter(|&seconds| seconds > 0).map(Duration::from_secs);
        Self::new(endpoint, timeout.unwrap_or(TIMEOUT))
    }

    /// The API at an address.
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Self> {
        if !endpoint.starts_with("http://") {
            return Err(Failure::new(
                "the address of OpenNebula's API (ONE_XMLRPC) does not begin with http://; on the \
                 front-end it is usually http://localhost:2633/RPC2",
            ));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            // The session is nobody else's business.
            .proxy(None)
            .build();
        Ok(Self { endpoint: endpoint.to_owned(), agent: config.into() })
    }

    /// Calls a method, with the session in front of what it takes. Nothing is tried again: it may have been
    /// done.
    pub async fn call(
        &self,
        method: &'static str,
        session: &Secret,
        arguments: Vec<Value>,
    ) -> Result<Value, CallError> {
        let body = request(method, session, &arguments);
        let client = self.clone();
        // An answer may have a datastore's secrets in it.
        let answered = tokio::task::spawn_blocking(move || client.post(&body)).await;
        let answer = answered
            .map_err(|error| error.to_string())
            .flatten()
            .map_err(|error| CallError::Failed(format!("{method} failed: {error}")))?;
        response(&answer).map_err(|error| match error {
            CallError::Failed(error) => CallError::Failed(format!("{method} failed: {error}")),
            refused => refused,
        })
    }

    fn post(&self, body: &str) -> Result<Zeroizing<String>, String> {
        let endpoint = match self.endpoint.contains('@') {
            true => "its address",
            false => &self.endpoint,
        };
        let sent =
            self.agent.post(&self.endpoint).content_type("text/xml; charset=utf-8").send(body);
        let mut answer = sent.map_err(|error| {
            format!(
                "OpenNebula cannot be asked at {endpoint}: {error}; check that oned runs, and \
                 ONE_XMLRPC or ~/.one/one_endpoint"
            )
        })?;
        if answer.status() != 200 {
            return Err(format!(
                "OpenNebula answers with HTTP status {}",
                answer.status().as_u16()
            ));
        }
        let mut text = Zeroizing::new(String::with_capacity(1 << 16));
        let mut reader = answer.body_mut().as_reader().take(MAX_ANSWER + 1);
        reader
            .read_to_string(&mut text)
            .map_err(|error| format!("the answer of OpenNebula cannot be read: {error}"))?;
        if text.len() as u64 > MAX_ANSWER {
            return Err("the answer of OpenNebula is too long".to_owned());
        }
        Ok(text)
    }
}

fn request(method: &str, session: &Secret, arguments: &[Value]) -> Zeroizing<String> {
    let mut body = Zeroizing::new(String::with_capacity(1 << 12));
    let _ = write!(
        body,
        "<?xml version=\"1.0\" ?><methodCall><methodName>{method}</methodName><params>"
    );
    let session = Zeroizing::new(escape(session.reveal()));
    let _ = write!(body, "<param><value><string>{}</string></value></param>", *session);
    for argument in arguments {
        body.push_str("<param><value>");
        let _ = match argument {
            Value::Int(number) => write!(body, "<i4>{number}</i4>"),
            Value::Bool(yes) => write!(body, "<boolean>{}</boolean>", u8::from(*yes)),
            Value::Text(text) => write!(body, "<string>{}</string>", escape(text)),
        };
        body.push_str("</value></param>");
    }
    body.push_str("</params></methodCall>");
    body
}

/// A text for XML. A carriage return would become a line feed; other control characters XML has no way to
/// write.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\r' => escaped.push_str("&#13;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c < ' ' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// What OpenNebula answers: whether it was done, and the result or an error.
fn response(answer: &str) -> Result<Value, CallError> {
    let failed = |what: &str| CallError::Failed(format!("the answer of OpenNebula {what}"));
    let document =
        element::parse(answer).map_err(|error| failed(&format!("is not valid XML: {error}")))?;
    let top = Element::top(&document);
    if let Some(fault) = top.at("fault/value/struct") {
        let is_text = |member: &Element<'_>| member.text("name") == Some("faultString");
        let text = fault.all("member").find(is_text).and_then(|member| member.child("value"));
        let text = text.and_then(value);
        return Err(failed(&match text {
            Some(Value::Text(text)) => format!("is a fault: {text}"),
            _ => "is a fault".to_owned(),
        }));
    }
    let values = top.at("params/param/value/array/data").ok_or_else(|| failed("has no result"))?;
    let mut values = values.all("value").map(value);
    match (values.next().flatten(), values.next().flatten()) {
        (Some(Value::Bool(true)), Some(result)) => Ok(result),
        (Some(Value::Bool(false)), Some(Value::Text(error))) => Err(CallError::Refused(error)),
        _ => Err(failed("makes no sense")),
    }
}

fn value(element: Element<'_>) -> Option<Value> {
    let Some(inner) = element.children().next() else {
        return Some(Value::Text(element.raw_text().to_owned()));
    };
    match inner.name() {
        "string" => Some(Value::Text(inner.raw_text().to_owned())),
        "i4" | "int" | "i8" => inner.own_text().parse().ok().map(Value::Int),
        "boolean" => match inner.own_text() {
            "1" => Some(Value::Bool(true)),
            "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<methodResponse><params><param><value><array>\
             <data>{values}</data></array></value></param></params></methodResponse>"
        )
    }

    #[test]
    fn a_call_is_written_as_opennebulas_own_client_does() {
        let arguments =
            vec![Value::Text("A = \"<&>\"\r\n\u{1}ü".into()), Value::Int(101), Value::Bool(false)];
        let body = request("one.image.allocate", &Secret::new("ada:x&y"), &arguments);
        assert_eq!(
            *body,
            "<?xml version=\"1.0\" ?><methodCall><methodName>one.image.allocate</methodName><params>\
             <param><value><string>ada:x&amp;y</string></value></param>\
             <param><value><string>A = \"&lt;&amp;&gt;\"&#13;\nü</string></value></param>\
             <param><value><i4>101</i4></value></param>\
             <param><value><boolean>0</boolean></value></param></params></methodCall>"
        );
    }

    #[test]
    fn answers_are_results_or_refusals() {
        let yes = "<value><boolean>1</boolean></value>";
        let no = "<value><boolean>0</boolean></value>";
        for (values, expected) in [
            (
                format!("{yes}<value><i4>18</i4></value><value><i4>0</i4></value>"),
                Ok(Value::Int(18)),
            ),
            (
                format!("{yes}<value><string>&lt;A/&gt;</string></value>"),
                Ok(Value::Text("<A/>".into())),
            ),
            (format!("{yes}<value>bare</value>"), Ok(Value::Text("bare".into()))),
            (
                format!(
                    "{no}<value><string>NAME is taken</string></value><value><i4>1</i4></value>"
                ),
                Err(CallError::Refused("NAME is taken".into())),
            ),
        ] {
            assert_eq!(response(&answer(&values)), expected, "{values}");
        }
    }

    #[test]
    fn answers_that_make_no_sense_are_failures() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value>\
            <int>-506</int></value></member><member><name>faultString</name><value><string>Method not \
            defined</string></value></member></struct></value></fault></methodResponse>";
        for (text, expected) in [
            (String::new(), "not valid XML"),
            ("<html/>".to_owned(), "no result"),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_owned(), "not valid XML"),
            (fault.to_owned(), "is a fault: Method not defined"),
            (answer(""), "makes no sense"),
            (answer("<value><boolean>1</boolean></value>"), "makes no sense"),
            (answer("<value><i4>1</i4></value><value><i4>x</i4></value>"), "makes no sense"),
        ] {
            match response(&text) {
                Err(CallError::Failed(error)) => assert!(error.contains(expected), "{error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_address_comes_from_the_environment_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let installation = Installation { var: folder.path().join("var") };
        let endpoint = |variables: &[(&str, &str)]| {
            Client::of(&Environment::of(variables), &installation).map(|client| client.endpoint)
        };
        assert_eq!(endpoint(&[]).as_deref(), Ok(DEFAULT_ENDPOINT));
        std::fs::create_dir_all(folder.path().join(".one")).unwrap();
        std::fs::write(folder.path().join(".one/one_endpoint"), "http://h:1/RPC2\n").unwrap();
        let home = ("HOME", folder.path().to_str().unwrap());
        assert_eq!(endpoint(&[home]).as_deref(), Ok("http://h:1/RPC2"));
        let given = ("ONE_XMLRPC", "http://e/RPC2");
        assert_eq!(endpoint(&[home, given]).as_deref(), Ok("http://e/RPC2"));
        assert!(endpoint(&[("ONE_XMLRPC", "https://h/RPC2")]).is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_one_sentence() {
        let client = Client::new("http://127.0.0.1:1/RPC2", TIMEOUT).unwrap();
        let called = client.call("one.datastore.info", &Secret::new("a:geheim"), Vec::new()).await;
        let Err(CallError::Failed(error)) = called else { panic!("{called:?}") };
        assert!(error.contains("http://127.0.0.1:1/RPC2") && !error.contains("geheim"), "{error}");
    }
}
