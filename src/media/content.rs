//! What the packets of a leg are, from its description.

use super::flow::Content;
use crate::rtp::quality::Voice;
use crate::sdp::{Media, pauses};

/// Codecs of one description that are looked at.
const MAX_VOICES: usize = 32;

impl Content {
    /// As a side described it.
    #[must_use]
    pub fn described(media: &Media<'_>) -> Self {
        let voice = |number: u8| Some((number, Voice::named(media.codec(number)?.name)));
        let voices = media.payload_types().filter_map(voice).take(MAX_VOICES);
        Self {
            fax: media.is_fax(),
            voices: voices.collect(),
            follows: false,
            pauses: media.is_fax() || pauses::allowed(media),
        }
    }

    /// As both sides described it: an agreement has what both have; numbers that one alone uses
    /// are kept, since each side sends by the numbers of the other (RFC 3264 §6.1).
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut voices = self.voices.clone();
        for (number, voice) in &other.voices {
            if voices.iter().all(|(known, _)| known != number) {
                voices.push((*number, *voice));
            }
        }
        Self {
            fax: self.fax && other.fax,
            voices,
            follows: false,
            pauses: self.pauses && other.pauses,
        }
    }
}
