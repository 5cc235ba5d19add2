//! What stands for OpenNebula's API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Answers whoever asks for an image with this one, for as long as the test runs. Gives the address.
pub fn with_image(image: &str) -> String {
    answering(&[("one.image.info", image)])
}

/// Answers each of these methods with its text, for as long as the test runs. Gives the address.
pub fn answering(answers: &[(&str, &str)]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Vec<_> = answers
        .iter()
        .map(|(method, text)| (format!("<methodName>{method}<"), answer(text)))
        .collect();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let request = read_request(&connection);
            let found = answers.iter().find(|(method, _)| request.contains(method));
            let (_, answer) = found.unwrap_or_else(|| panic!("there is no answer to {request}"));
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                answer.len()
            );
            let _ = connection.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    format!("http://127.0.0.1:{port}/RPC2")
}

fn answer(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data>\
         <value><boolean>1</boolean></value><value><string>{text}</string></value>\
         <value><i4>0</i4></value></data></array></value></param></params></methodResponse>"
    )
}

fn read_request(connection: &TcpStream) -> String {
    let mut reader = BufReader::new(connection);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request).unwrap();
    String::from_utf8(request).unwrap()
}
