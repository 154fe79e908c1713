//! The stream framer against a plain reading of the whole stream, and against itself with other cuts.

use super::codec::path;
use super::framer::{Plain, plain};
use super::steps::Steps;
use bytes::Bytes;
use leasebridge::sip::codec::{self, Fault, MAX_DATAGRAM, MAX_LINE, Part, Peek, Stream};
use leasebridge::sip::message::{Header, Method, Writer};

/// Longest stream of one input: two messages of the longest kind and some more.
const MOST: usize = 150_000;
/// A stream no longer than this is also read byte by byte, a longer one in pieces of [`PIECE`].
const SHORT: usize = 8192;
const PIECE: usize = 61;

const METHODS: [Method; 4] = [Method::Invite, Method::Ack, Method::Info, Method::Bye];

/// What a stream gave, or should give.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// A message, from where to where.
    Message(usize, usize),
    Ping,
    Broken,
}

/// The verdict on a stream that cannot be read, and the answer to it.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    fault: Fault,
    peek: Peek,
    answer: Option<Bytes>,
}

/// The bytes of an input, and the messages at their front that are whole and of our own printing.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    ours: Vec<(usize, usize)>,
    /// Something else stands behind them.
    foreign: bool,
}

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let cuts: Vec<usize> = (0..steps.below(9))
        .map(|_| usize::from(steps.byte()) << 8 | usize::from(steps.byte()))
        .collect();
    let sent = sent(&mut steps);
    let bytes = &sent.bytes;
    let expected = whole(bytes);
    let (told, verdict) = received(bytes, &[]);
    assert_eq!(told, expected, "the plain reading finds something else");
    let printed = sent.ours.iter().map(|(from, to)| Told::Message(*from, *to));
    let messages = told.iter().filter(|one| matches!(one, Told::Message(..)));
    assert!(
        messages
            .take(sent.ours.len())
            .eq(&printed.collect::<Vec<_>>()),
        "a message of ours is lost"
    );
    let piece = if bytes.len() > SHORT { PIECE } else { 1 };
    let chopped: Vec<usize> = (0..bytes.len()).step_by(piece).collect();
    for ends in [&cuts, &chopped] {
        let (again, verdict_again) = received(bytes, ends);
        assert_eq!(again, told, "cuts change what is read");
        assert_eq!(verdict_again, verdict, "cuts change the verdict");
    }
    for one in &told {
        if let Told::Message(from, to) = one {
            is_read_as_framed(&bytes[*from..*to]);
        }
    }
}

/// The body that the codec finds in a message is all that the stream put behind its head.
fn is_read_as_framed(bytes: &[u8]) {
    if let Ok(message) = codec::parse(Bytes::copy_from_slice(bytes)) {
        let head = plain(bytes).expect("a head").body;
        assert_eq!(message.body(), &bytes[head..], "not the stream's body");
    }
}

fn sent(steps: &mut Steps<'_>) -> Sent {
    let mut sent = Sent::default();
    while !steps.is_over() && sent.bytes.len() < MOST {
        let kind = steps.byte();
        match kind % 8 {
            0..=2 => sent.foreign(steps.text()),
            3 => sent.ours(METHODS[usize::from(kind >> 6)], steps.text()),
            4 => sent.bytes.extend_from_slice(b"\r\n"),
            // Much of the same: only so the bounds are met.
            5 => {
                let times = (usize::from(kind >> 3) + 1) * 64;
                let text = steps.text().repeat(times);
                sent.foreign(&text[..text.len().min(MOST)]);
            }
            6 => {
                let times = (usize::from(kind >> 3) + 1) * 64;
                let body = steps.text().repeat(times);
                sent.ours(Method::Info, &body[..body.len().min(MAX_DATAGRAM)]);
            }
            _ => {
                let length = usize::from(steps.byte()) << 8 | usize::from(steps.byte());
                let head = format!("BYE sip:a@b SIP/2.0\r\nl: {}\r\n\r\n", length * 2);
                sent.foreign(head.as_bytes());
                sent.foreign(&vec![b'x'; length]);
            }
        }
    }
    sent
}

impl Sent {
    fn foreign(&mut self, bytes: &[u8]) {
        self.foreign |= !bytes.is_empty();
        self.bytes.extend_from_slice(bytes);
    }

    fn ours(&mut self, method: Method, body: &[u8]) {
        let mut writer = Writer::request(method, "sip:a@b");
        writer.header(Header::Via, "SIP/2.0/TCP h;branch=z9hG4bKa");
        let content = (!body.is_empty()).then_some(("text/plain", body));
        let bytes = writer.finish(content);
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&bytes);
        self.foreign |= bytes.len() > MAX_DATAGRAM;
        if !self.foreign {
            self.ours.push((from, self.bytes.len()));
        }
    }
}

/// What comes out of a stream whose bytes come in pieces that end at `ends`, with all that must
/// hold while they come.
fn received(bytes: &[u8], ends: &[usize]) -> (Vec<Told>, Option<Verdict>) {
    let mut ends: Vec<usize> = ends.iter().map(|end| end % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut stream, mut told, mut verdict) = (Stream::default(), Vec::new(), None);
    // Where in `bytes` the stream has got to, and how many bytes it was given.
    let (mut at, mut given) = (0, 0);
    for end in ends {
        let is_broken = verdict.is_some();
        stream.take(&bytes[given..end], |part| {
            assert!(!is_broken && verdict.is_none(), "something after the end");
            match part {
                Part::Message(message) => {
                    at = after_blank(bytes, at);
                    let to = at + message.len();
                    assert_eq!(bytes.get(at..to), Some(&*message), "not a part of it");
                    told.push(Told::Message(at, to));
                    at = to;
                }
                Part::Ping => told.push(Told::Ping),
                Part::Broken(error) => {
                    told.push(Told::Broken);
                    verdict = Some(judged(&error));
                }
            }
        });
        given = end;
        let held = given.saturating_sub(after_blank(&bytes[..given], at));
        if verdict.is_some() {
            assert!(!stream.is_started(), "the rest is kept for nobody");
        } else {
            assert_eq!(stream.is_started(), held > 0);
            assert!(held < MAX_DATAGRAM, "{held} bytes are held");
        }
    }
    if verdict.is_some() {
        let more = b"BYE sip:a@b SIP/2.0\r\nl: 0\r\n\r\n\r\n\r\n";
        stream.take(more, |part| panic!("{part:?} after the end"));
        assert!(!stream.is_started());
    }
    (told, verdict)
}

fn after_blank(bytes: &[u8], mut at: usize) -> usize {
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

fn judged(error: &codec::ParseError) -> Verdict {
    let answer = error.response("ourtag", path()).map(|(answer, _)| answer);
    Verdict {
        fault: error.fault(),
        peek: error.peek(),
        // A first line that does not end is given up in the middle of it: how much of what follows
        // is there to be repeated is a matter of the cuts.
        answer: answer.filter(|_| error.fault() != Fault::LineTooLong),
    }
}

/// The whole stream, read as one would who has all of it.
fn whole(bytes: &[u8]) -> Vec<Told> {
    let (mut told, mut at, mut blanks) = (Vec::new(), 0, 0);
    loop {
        let rest = &bytes[at..];
        if rest.starts_with(b"\r\n") {
            at += 2;
            blanks += 1;
            if blanks % 2 == 0 {
                told.push(Told::Ping);
            }
            continue;
        }
        match first(rest) {
            Ok(Some(length)) => {
                told.push(Told::Message(at, at + length));
                at += length;
                blanks = 0;
            }
            Ok(None) => return told,
            Err(()) => {
                told.push(Told::Broken);
                return told;
            }
        }
    }
}

/// Length of the first message; `None` while it is not whole.
fn first(rest: &[u8]) -> Result<Option<usize>, ()> {
    let find = |wanted: &[u8]| rest.windows(wanted.len()).position(|part| part == wanted);
    match find(b"\r\n") {
        None if rest.len() < MAX_LINE + 2 => return Ok(None),
        Some(end) if end <= MAX_LINE => {
            if codec::first_line_peek(&rest[..end]) == Peek::Garbage {
                return Err(());
            }
        }
        _ => return Err(()),
    }
    let head = match find(b"\r\n\r\n") {
        None if rest.len() < MAX_DATAGRAM => return Ok(None),
        Some(end) if end + 4 <= MAX_DATAGRAM => &rest[..end + 4],
        _ => return Err(()),
    };
    let length = content_length(&plain(head).ok_or(())?).ok_or(())?;
    let length = head.len() + length;
    if length > MAX_DATAGRAM {
        return Err(());
    }
    Ok((length <= rest.len()).then_some(length))
}

/// The only Content-Length.
fn content_length(plain: &Plain) -> Option<usize> {
    let values = plain.lines.iter().skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = line[..colon].trim_ascii_end().to_ascii_lowercase();
        let value = line[colon + 1..].trim_ascii();
        matches!(&*name, b"content-length" | b"l").then_some(value)
    });
    let values: Vec<&[u8]> = values.collect();
    let [value] = values[..] else {
        return None;
    };
    // Nobody needs more digits than a 32-bit number has.
    let is_number = (1..=10).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(value).ok()?;
    value.parse().ok().filter(|_| is_number)
}
