//! The demonstration's HTTP client: one POST a connection, as small as it can be.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Posts a form and returns the JSON that came back.
///
/// # Errors
/// The connection's, or an answer that is no HTTP.
pub fn post(
    server: SocketAddr,
    token: &str,
    operation: &str,
    form: &[(&str, &str)],
) -> io::Result<serde_json::Value> {
    let body: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let body = body.join("&");
    let request = format!(
        "POST /api/v1/{operation} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("an answer without a body"))?;
    // The server may send chunks: the JSON object is what stands between the outermost braces.
    let from = body.find('{').unwrap_or(0);
    let to = body.rfind('}').map_or(body.len(), |at| at + 1);
    serde_json::from_str(body.get(from..to).unwrap_or_default()).map_err(io::Error::other)
}

fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
