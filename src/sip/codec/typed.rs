//! The typed view by rsip, for paths where time does not matter.

use crate::sip::message::Message;
use std::fmt::Write;

/// Head of a message as rsip types: typed headers such as challenges and credentials come from
/// there. The head is written anew first (full names, one value a line, unfolded, no body), which
/// keeps clear of rsip's faults; the body stays with `message`.
///
/// # Errors
/// What rsip says of it.
pub fn typed(message: &Message) -> Result<rsip::SipMessage, rsip::Error> {
    let mut head = String::with_capacity(1024);
    // Writing to a string does not fail.
    let _ = match message.status() {
        Some(status) => write!(head, "SIP/2.0 {status} {}\r\n", super::phrase(status)),
        None => {
            let cseq = message.get(crate::sip::message::Header::CSeq);
            let method = cseq.and_then(|cseq| cseq.split_ascii_whitespace().nth(1));
            write!(
                head,
                "{} {} SIP/2.0\r\n",
                method.unwrap_or_default(),
                message.uri()
            )
        }
    };
    for (name, value) in message.head.each() {
        let _ = write!(head, "{}: {value}\r\n", name.as_str());
    }
    head.push_str("\r\n");
    rsip::SipMessage::try_from(head)
}
