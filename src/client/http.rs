//! The socket for events, spoken as a client in HTTP/1.1: one request with events, one answer.
//!
//! It blocks, and prints nothing.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Bytes of an answer: an ack is some 250, with a key and an id of the caller's.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The response to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Whether what it asked for is done.
    pub is_ok: bool,
    pub body: Vec<u8>,
}

/// Posts events, and waits until they are answered.
///
/// # Errors
/// The connection broke, or what came back is no answer.
pub(crate) fn post(
    mut socket: UnixStream,
    content_type: &str,
    events: &[u8],
) -> io::Result<Response> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        events.len()
    );
    socket.write_all(head.as_bytes())?;
    // A daemon that refuses it may have read no further.
    let written = socket.write_all(events);
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    match response(&answer) {
        Some(response) => Ok(response),
        None => {
            written?;
            Err(io::Error::new(io::ErrorKind::InvalidData, "the daemon ended without an answer"))
        }
    }
}

fn response(answer: &[u8]) -> Option<Response> {
    const END: &[u8] = b"\r\n\r\n";
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let end = answer.windows(END.len()).position(|window| window == END)?;
    Some(Response { is_ok: status == b"200", body: answer[end + END.len()..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_the_end_of_a_connection() {
        let ok = response(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}\n");
        assert_eq!(ok, Some(Response { is_ok: true, body: b"{}\n".to_vec() }));
        let refused = response(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert_eq!(refused, Some(Response { is_ok: false, body: Vec::new() }));
        for none in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"{\"ok\":false}\n"] {
            assert_eq!(response(none), None);
        }
    }
}
