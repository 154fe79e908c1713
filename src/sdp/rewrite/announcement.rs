//! The answer of a side that only plays: one codec, `sendonly`.

use super::{family, write_refused};
use crate::sdp::shape::{Line, Shape};
use std::io::Write;
use std::net::IpAddr;

/// What a recording is played by.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// Our address, as the other side is to see it.
    pub address: IpAddr,
    /// Our RTP port.
    pub port: u16,
    /// Number of our session (`o=`).
    pub session: u32,
    /// The media lines of the offer.
    pub shape: &'a Shape,
    /// The codec's number in the offer.
    pub payload_type: u8,
    /// Its name; the clock is 8000.
    pub codec: &'a str,
}

impl Announcement<'_> {
    /// The answer.
    #[must_use]
    pub fn answer(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out).ok()?;
        Some(out)
    }

    fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let (family, address) = (family(self.address), self.address);
        write!(
            out,
            "v=0\r\no=- {} 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n",
            self.session
        )?;
        for line in self.shape.lines() {
            match line {
                Line::Refused(refused) => write_refused(out, &refused)?,
                // Nothing to be heard: there is no answer.
                Line::Fax => return Err(std::io::ErrorKind::Unsupported.into()),
                Line::Audio(protocol) => {
                    let (number, codec) = (self.payload_type, self.codec);
                    let protocol = protocol.name();
                    write!(
                        out,
                        "m=audio {} {protocol} {number}\r\na=rtpmap:{number} {codec}/8000\r\n\
                         a=ptime:20\r\na=sendonly\r\n",
                        self.port
                    )?;
                }
            }
        }
        Ok(())
    }
}
