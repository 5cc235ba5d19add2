//! A daemon that answers as it did when the calls were recorded.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::recording::{Call, parse_request};

/// The API, on a port of its own.
pub struct Oned {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What it is going to answer, each once.
    answers: Vec<Call>,
    asked: Vec<Asked>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub arguments: Vec<String>,
    /// All of it.
    pub body: String,
}

impl Oned {
    /// A daemon that gives each of these answers once, in the order of the calls of each method.
    pub fn start(answers: Vec<Call>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { answers, asked: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &shared);
            }
        });
        Self { port, state }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/RPC2", self.port)
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }
}

/// An answer of success, with this value in it, as XML-RPC writes it.
pub fn success(value: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data><value><boolean>1\
         </boolean></value><value>{value}</value><value><i4>0</i4></value></data></array></value></param>\
         </params></methodResponse>"
    )
}

/// A refusal.
pub fn refusal(why: &str) -> String {
    success(&format!("<string>{why}</string>")).replacen("<boolean>1", "<boolean>0", 1)
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(body) = read_request(&mut stream) else { return };
    let (method, arguments) = parse_request(&body);
    let mut state = state.lock().unwrap();
    let found = state.answers.iter().position(|call| call.method == method);
    let answer = match found {
        Some(at) => state.answers.remove(at).answer,
        None => refusal(&format!("{method} was not expected")),
    };
    state.asked.push(Asked { method, arguments, body });
    drop(state);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.trim().parse().ok()? {
                return Some(body.to_owned());
            }
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
