//! What was recorded when OpenNebula worked with the driver that ours takes the place of.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// One call of an action.
#[derive(Clone, Debug)]
pub struct Recording {
    /// `restore/two_disks`.
    pub name: String,
    /// The action.
    pub action: String,
    pub arguments: Vec<String>,
    /// The message, decoded.
    pub stdin: String,
    /// Whether it came as base64.
    pub is_encoded: bool,
    pub stdout: String,
    pub code: i32,
    /// The calls of the API meanwhile.
    pub calls: Vec<Call>,
}

/// A call of the API: what was asked, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// Texts and numbers, without the session.
    pub arguments: Vec<String>,
    /// The whole body of the answer.
    pub answer: String,
}

/// An archive of the tests' data.
pub fn unpack(name: &str, target: &std::path::Path) {
    archive(name).unpack(target).unwrap();
}

fn archive(name: &str) -> tar::Archive<impl Read> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/opennebula").join(name);
    let file = fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    tar::Archive::new(zstd::stream::read::Decoder::new(file).unwrap())
}

/// All recordings of an action.
pub fn of(action: &str) -> Vec<Recording> {
    let mut files: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for entry in archive("cases.tar.zst").entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_owned();
        let Some((case, file)) = path.rsplit_once('/') else { continue };
        if entry.header().entry_type().is_file() && case.starts_with(&format!("{action}/")) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.entry(case.to_owned()).or_default().insert(file.to_owned(), content);
        }
    }
    let cases: Vec<_> = files.iter().map(|(name, files)| parse(action, name, files)).collect();
    assert!(!cases.is_empty(), "nothing was recorded of {action}");
    cases
}

fn parse(action: &str, name: &str, files: &BTreeMap<String, Vec<u8>>) -> Recording {
    let text = |file: &str| {
        files.get(file).map(|text| String::from_utf8(text.clone()).unwrap()).unwrap_or_default()
    };
    let stdin = text("stdin");
    let is_encoded = !stdin.is_empty() && !stdin.contains([' ', '<']);
    let stdin = match is_encoded {
        true => String::from_utf8(BASE64_STANDARD.decode(stdin.trim()).unwrap()).unwrap(),
        false => stdin,
    };
    Recording {
        name: name.to_owned(),
        action: action.to_owned(),
        arguments: text("argv").lines().skip(1).map(str::to_owned).collect(),
        stdin,
        is_encoded,
        stdout: text("stdout"),
        code: text("rc").trim().parse().unwrap(),
        calls: calls(&text("xmlrpc.log")),
    }
}

/// The calls in a log of requests and answers.
fn calls(log: &str) -> Vec<Call> {
    let parts = log.split("##### ").skip(1);
    let call = |part: &str| {
        let request = &part[part.find("<?xml")?..part.find("</methodCall>")?];
        let answer = &part[part.rfind("<?xml")?..part.find("</methodResponse>")?];
        let (method, arguments) = parse_request(&format!("{request}</methodCall>"));
        Some(Call { method, arguments, answer: format!("{answer}</methodResponse>") })
    };
    parts.map(|part| call(part).unwrap_or_else(|| panic!("{part}"))).collect()
}

/// The method and the arguments of a request, without the session.
pub fn parse_request(request: &str) -> (String, Vec<String>) {
    let document = roxmltree::Document::parse(request).unwrap_or_else(|e| panic!("{request}: {e}"));
    let named =
        |name: &'static str| document.descendants().filter(move |node| node.has_tag_name(name));
    let method = named("methodName").next().unwrap().text().unwrap().to_owned();
    let values = named("value").map(|value| {
        let value = value.children().find(roxmltree::Node::is_element).unwrap_or(value);
        value.text().unwrap_or_default().to_owned()
    });
    (method, values.skip(1).collect())
}
