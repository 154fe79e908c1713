//! Whether a sender may stop while nobody speaks: comfort noise (RFC 3389) or a codec's own
//! discontinuous transmission.

use super::parse::Media;

/// Codecs that pause unless a parameter forbids it (RFC 4856 §2.1.9, RFC 3551 §4.5.3).
const UNLESS: [(&str, &str); 4] = [
    ("G729", "annexb=no"),
    ("G729D", "annexb=no"),
    ("G729E", "annexb=no"),
    ("G723", "annexa=no"),
];
/// Codecs that always may (RFC 4867 §4.1, 3GPP TS 26.445).
const ALWAYS: [&str; 4] = ["CN", "AMR", "AMR-WB", "EVS"];
/// Codecs that do where a parameter says so (RFC 7587 §6.1, RFC 5574 §3.3).
const WHERE: [(&str, &str); 2] = [("opus", "usedtx=1"), ("speex", "vad=on")];

/// Whether what `media` describes lets a side fall silent by itself.
#[must_use]
pub fn allowed(media: &Media<'_>) -> bool {
    media.payload_types().any(|number| {
        let Some(codec) = media.codec(number) else {
            return false;
        };
        let is = |name: &str| name.eq_ignore_ascii_case(codec.name);
        let says = |parameter: &str| {
            media
                .parameters
                .iter()
                .filter(|(known, _)| *known == number)
                .flat_map(|(_, text)| text.split(';'))
                .any(|one| one.trim().eq_ignore_ascii_case(parameter))
        };
        ALWAYS.iter().any(|name| is(name))
            || UNLESS.iter().any(|(name, no)| is(name) && !says(no))
            || WHERE.iter().any(|(name, yes)| is(name) && says(yes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::parse;

    #[test]
    fn comfort_noise_and_discontinuous_codecs_pause() {
        for (formats, lines, expected) in [
            ("0 8 101", "a=rtpmap:101 telephone-event/8000\r\n", false),
            ("0 13", "", true),
            ("0 97", "a=rtpmap:97 CN/16000\r\n", true),
            ("18", "", true),
            ("18", "a=fmtp:18 annexb=no\r\n", false),
            ("4", "a=fmtp:4 bitrate=6.3; AnnexA=no\r\n", false),
            ("96", "a=rtpmap:96 AMR/8000\r\n", true),
            ("96", "a=rtpmap:96 opus/48000/2\r\n", false),
            (
                "96",
                "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 minptime=10;usedtx=1\r\n",
                true,
            ),
            ("96", "", false),
        ] {
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP {formats}\r\n{lines}"
            );
            let description = parse(body.as_bytes()).unwrap();
            assert_eq!(
                allowed(&description.media[0]),
                expected,
                "{formats} {lines}"
            );
        }
    }
}
