//! As much of HTTP as one request to a daemon on loopback needs (RFC 9112, one exchange a connection).

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer that is taken.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What is asked.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) host: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) body: Option<&'a Value>,
}

/// What is answered; a body that is no JSON is null.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Asks, and reads the answer to its end.
pub(super) async fn exchange(request: &Request<'_>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(request.host).await?;
    stream.write_all(&encode(request)).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    decode(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is not HTTP"))
}

/// Version 1.0: the answer ends with the connection and comes in no chunks.
fn encode(request: &Request<'_>) -> Vec<u8> {
    let Request { host, method, path, token, body } = request;
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n");
    if let Some(token) = token {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if *method == "POST" {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    (text + "\r\n" + &body).into_bytes()
}

fn decode(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut words = head.lines().next()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = words.next()?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_slice(&answer[end + 4..]).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers() {
        let body = serde_json::json!({ "a": 1 });
        let mut request = Request { host: "h:1", method: "POST", path: "/x", token: Some("t"), body: Some(&body) };
        let text = String::from_utf8(encode(&request)).unwrap();
        assert!(text.starts_with("POST /x HTTP/1.0\r\nHost: h:1\r\n"), "{text}");
        assert!(text.contains("Bearer t\r\n") && text.ends_with("Content-Length: 7\r\n\r\n{\"a\":1}"), "{text}");
        (request.method, request.body) = ("GET", None);
        assert!(String::from_utf8(encode(&request)).unwrap().ends_with("\r\n\r\n"));

        let answer = decode(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!(answer, Answer { status: 200, body });
        assert_eq!(decode(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap(), Answer { status: 404, body: Value::Null });
        assert_eq!(decode(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(decode(b"HTTP/1.0 200"), None);
    }
}
