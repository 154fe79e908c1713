//! A small telephone for the demonstration: real SIP over a real UDP socket, written apart from the
//! gateway's own SIP so that the two check each other. It speaks just what one call needs.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Longest wait for any message: far beyond what loopback takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A telephone bound to a socket.
#[derive(Debug)]
pub struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    media: SocketAddr,
    counter: u32,
}

/// A call that a phone has made or taken, up to its BYE.
#[derive(Debug)]
pub struct Dialog {
    peer: SocketAddr,
    target: String,
    call_id: String,
    local: String,
    remote: String,
    sequence: u32,
    /// Where the gateway wants this side's RTP.
    pub media: SocketAddr,
    /// What the other side's INVITE or answer said, whole.
    pub heard: String,
}

impl Phone {
    /// Binds a phone at `address`, whose RTP socket is at `media`.
    ///
    /// # Errors
    /// The socket's.
    pub fn bind(address: SocketAddr, media: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            address,
            media,
            counter: 0,
        })
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `number` through `gateway` as `caller`, and waits until it is answered.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn call(
        &mut self,
        gateway: SocketAddr,
        caller: &str,
        number: &str,
    ) -> Result<Dialog, String> {
        self.counter += 1;
        let call_id = format!("demo-{}-{}", self.address.port(), self.counter);
        let local = format!("<sip:{caller}@{}>;tag=d{}", self.address, self.counter);
        let target = format!("sip:{number}@{gateway}");
        let body = self.description();
        let mut dialog = Dialog {
            peer: gateway,
            target: target.clone(),
            call_id,
            local,
            remote: format!("<sip:{number}@{gateway}>"),
            sequence: 1,
            media: self.media,
            heard: String::new(),
        };
        let extra = format!(
            "Contact: <sip:{caller}@{}>\r\nP-Asserted-Identity: <sip:{caller}@{}>\r\n\
             Content-Type: application/sdp\r\n",
            self.address, self.address
        );
        let invite = self.request(&dialog, "INVITE", &extra, &body);
        self.send(&invite, gateway)?;
        loop {
            let (message, _) = self.receive(&invite, gateway)?;
            let status = status_of(&message);
            if header(&message, "CSeq").ends_with("INVITE") && status >= 200 {
                dialog.remote = header(&message, "To").to_owned();
                if status >= 300 {
                    let ack = self.request(&dialog, "ACK", "", "");
                    self.send(&ack, gateway)?;
                    return Err(first_line(&message).to_owned());
                }
                dialog.target = uri_of(header(&message, "Contact")).to_owned();
                dialog.media = described_media(&message)?;
                dialog.heard = message;
                let ack = self.request(&dialog, "ACK", "", "");
                self.send(&ack, gateway)?;
                return Ok(dialog);
            }
        }
    }

    /// Waits for an INVITE, rings, answers, and waits for the ACK.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn answer(&mut self) -> Result<Dialog, String> {
        let (invite, peer) = loop {
            let (message, peer) = self.wait()?;
            if message.starts_with("INVITE ") {
                break (message, peer);
            }
            if message.starts_with("OPTIONS ") {
                self.send(&response(&message, "200 OK", "p", "", ""), peer)?;
            }
        };
        self.counter += 1;
        let tag = format!("p{}", self.counter);
        self.send(&response(&invite, "180 Ringing", &tag, "", ""), peer)?;
        let extra = format!(
            "Contact: <sip:callee@{}>\r\nContent-Type: application/sdp\r\n",
            self.address
        );
        let body = self.description();
        self.send(&response(&invite, "200 OK", &tag, &extra, &body), peer)?;
        loop {
            let (message, _) = self.wait()?;
            if message.starts_with("ACK ") {
                break;
            }
        }
        Ok(Dialog {
            peer,
            target: uri_of(header(&invite, "Contact")).to_owned(),
            call_id: header(&invite, "Call-ID").to_owned(),
            local: format!("{};tag={tag}", header(&invite, "To")),
            remote: header(&invite, "From").to_owned(),
            sequence: 1,
            media: described_media(&invite)?,
            heard: invite,
        })
    }

    /// Ends the call and waits for the 200.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn hang_up(&mut self, dialog: &mut Dialog) -> Result<(), String> {
        dialog.sequence += 1;
        let bye = self.request(dialog, "BYE", "", "");
        self.send(&bye, dialog.peer)?;
        loop {
            let (message, _) = self.receive(&bye, dialog.peer)?;
            if header(&message, "CSeq").ends_with("BYE") && status_of(&message) == 200 {
                return Ok(());
            }
        }
    }

    /// Waits for the other side's BYE and answers it.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn await_end(&mut self) -> Result<(), String> {
        loop {
            let (message, peer) = self.wait()?;
            if message.starts_with("BYE ") {
                return self.send(&response(&message, "200 OK", "", "", ""), peer);
            }
        }
    }

    fn description(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n",
            ip = self.media.ip(),
            port = self.media.port()
        )
    }

    fn request(&self, dialog: &Dialog, method: &str, extra: &str, body: &str) -> String {
        let mut text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}-{}-{method};rport\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            dialog.target,
            self.address,
            dialog.call_id,
            dialog.sequence,
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.sequence,
        );
        let _ = write!(text, "{extra}Content-Length: {}\r\n\r\n{body}", body.len());
        text
    }

    fn send(&self, text: &str, to: SocketAddr) -> Result<(), String> {
        self.socket
            .send_to(text.as_bytes(), to)
            .map(|_| ())
            .map_err(|error| format!("sending to {to}: {error}"))
    }

    /// The next message; `request` is sent again every half second until something comes.
    fn receive(&self, request: &str, to: SocketAddr) -> Result<(String, SocketAddr), String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(got) = self.poll(Duration::from_millis(500))? {
                return Ok(got);
            }
            self.send(request, to)?;
        }
        Err(format!("no answer to {}", first_line(request)))
    }

    fn wait(&self) -> Result<(String, SocketAddr), String> {
        self.poll(PATIENCE)?
            .ok_or_else(|| "nothing came".to_owned())
    }

    fn poll(&self, patience: Duration) -> Result<Option<(String, SocketAddr)>, String> {
        let mut buffer = vec![0; 65_536];
        let said = |error: io::Error| format!("receiving: {error}");
        self.socket.set_read_timeout(Some(patience)).map_err(said)?;
        match self.socket.recv_from(&mut buffer) {
            Ok((length, peer)) => {
                buffer.truncate(length);
                Ok(Some((String::from_utf8_lossy(&buffer).into_owned(), peer)))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(said(error)),
        }
    }
}

/// A header's first value; empty if it is not there.
#[must_use]
pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

/// The user part of a header's URI.
#[must_use]
pub fn user_of(value: &str) -> &str {
    let uri = uri_of(value);
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or(rest, |(user, _)| user)
}

fn response(request: &str, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        if line
            .get(..4)
            .is_some_and(|name| name.eq_ignore_ascii_case("via:"))
        {
            let _ = write!(text, "{line}\r\n");
        }
    }
    let to = header(request, "To");
    let tag = if tag.is_empty() || to.contains(";tag=") {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    let _ = write!(
        text,
        "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    );
    text
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

fn status_of(message: &str) -> u16 {
    let mut words = first_line(message).split(' ');
    match words.next() {
        Some("SIP/2.0") => words.next().and_then(|word| word.parse().ok()).unwrap_or(0),
        _ => 0,
    }
}

fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map_or(rest, |(uri, _)| uri),
        None => value.split(';').next().unwrap_or(value),
    }
}

fn described_media(message: &str) -> Result<SocketAddr, String> {
    let line = |prefix: &str| message.lines().find_map(|line| line.strip_prefix(prefix));
    let ip = line("c=IN IP4 ")
        .or_else(|| line("c=IN IP6 "))
        .ok_or("no address in the SDP")?;
    let port = line("m=audio ")
        .and_then(|rest| rest.split(' ').next())
        .ok_or("no audio")?;
    let ip = ip
        .trim()
        .parse()
        .map_err(|_| format!("address {ip:?} in the SDP"))?;
    let port = port
        .parse()
        .map_err(|_| format!("port {port:?} in the SDP"))?;
    Ok(SocketAddr::new(ip, port))
}
