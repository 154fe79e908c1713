//! Ciphers and tags of one direction of RTP or RTCP: AES in counter mode with HMAC-SHA1 (RFC 3711
//! §4.1.1, §4.2.1), AES-GCM (RFC 7714). Which packet it is, the caller knows.

use super::derive::{Label, block_cipher, session_key};
use super::key::MasterKey;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipherCore, consts::U16};
use aes::{Aes128Enc, Aes256Enc};
use ctr::{CtrCore, flavors::Ctr128BE};
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Bytes of a tag of HMAC-SHA1 before it is cut, and of the key for it.
const SHA1_LENGTH: usize = 20;

/// The session keys of one direction of RTP or of RTCP.
pub(super) struct Transform {
    mode: Mode,
    tag_length: usize,
}

// Each stands behind a pointer already, with its contexts; what is unused of a smaller one is less
// than a second allocation would cost.
#[allow(clippy::large_enum_variant)]
enum Mode {
    Cm128(Aes128Enc, [u8; 14], Hmac<Sha1>),
    Cm256(Aes256Enc, [u8; 14], Hmac<Sha1>),
    Gcm(LessSafeKey, [u8; 12]),
}

/// Where a packet's parts lie: what stands in the clear, then what is enciphered up to `length`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) clear: usize,
    pub(super) length: usize,
}

/// Which packet: what goes into its initialisation vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    pub(super) ssrc: u32,
    /// 48 bits of SRTP, 31 bits of SRTCP.
    pub(super) index: u64,
}

impl Transform {
    /// For RTP.
    pub(super) fn rtp(master: &MasterKey) -> Option<Self> {
        let labels = [Label::RtpCipher, Label::RtpTag, Label::RtpSalt];
        Self::derived(master, labels, master.suite().tag_length())
    }

    /// For RTCP.
    pub(super) fn rtcp(master: &MasterKey) -> Option<Self> {
        let labels = [Label::RtcpCipher, Label::RtcpTag, Label::RtcpSalt];
        Self::derived(master, labels, master.suite().rtcp_tag_length())
    }

    fn derived(master: &MasterKey, labels: [Label; 3], tag_length: usize) -> Option<Self> {
        let [cipher, tag, salting] = labels;
        let mut room = Zeroizing::new([0; 32]);
        let key = room.get_mut(..master.suite().key_length())?;
        session_key(master, cipher, key);
        let mut tag_key = Zeroizing::new([0; SHA1_LENGTH]);
        session_key(master, tag, &mut tag_key[..]);
        let mut salt = [0; 14];
        session_key(master, salting, &mut salt);
        Self::of_session_keys(master.suite(), key, &tag_key[..], &salt, tag_length)
    }

    /// Of the session keys themselves.
    pub(super) fn of_session_keys(
        suite: super::Suite,
        key: &[u8],
        tag_key: &[u8],
        salt: &[u8],
        tag_length: usize,
    ) -> Option<Self> {
        let mode = if suite.is_gcm() {
            let algorithm = match key.len() {
                16 => &aead::AES_128_GCM,
                _ => &aead::AES_256_GCM,
            };
            let key = UnboundKey::new(algorithm, key).ok()?;
            Mode::Gcm(LessSafeKey::new(key), *salt.first_chunk()?)
        } else {
            let tags = <Hmac<Sha1> as KeyInit>::new_from_slice(tag_key).ok()?;
            let salt = *salt.first_chunk()?;
            match key.len() {
                16 => Mode::Cm128(block_cipher(key)?, salt, tags),
                _ => Mode::Cm256(block_cipher(key)?, salt, tags),
            }
        };
        Some(Self { mode, tag_length })
    }

    /// Whether opening may spoil a packet that is not genuine.
    pub(super) const fn spoils(&self) -> bool {
        matches!(self.mode, Mode::Gcm(..))
    }

    /// Bytes of its tags.
    pub(super) const fn tag_length(&self) -> usize {
        self.tag_length
    }

    /// Enciphers an RTP packet and puts its tag behind it; the new length. `None` where the buffer
    /// has no room.
    #[inline]
    pub(super) fn seal(&self, buffer: &mut [u8], parts: Parts, which: Which) -> Option<usize> {
        let end = parts.length.checked_add(self.tag_length)?;
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut_checked(parts.length)?;
        match &self.mode {
            Mode::Gcm(key, salt) => {
                let (clear, body) = packet.split_at_mut_checked(parts.clear)?;
                let nonce = nonce(salt, which);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*clear), body);
                rest.copy_from_slice(tag.ok()?.as_ref());
            }
            Mode::Cm128(cipher, salt, tags) => {
                apply(cipher, salt, which, packet.get_mut(parts.clear..)?);
                tag(tags, packet, &rollover(which), rest)?;
            }
            Mode::Cm256(cipher, salt, tags) => {
                apply(cipher, salt, which, packet.get_mut(parts.clear..)?);
                tag(tags, packet, &rollover(which), rest)?;
            }
        }
        Some(end)
    }

    /// Checks an SRTP packet of `parts.length` bytes, its tag counted, and deciphers it; the length
    /// that is left. `None` where it is not genuine.
    #[inline]
    pub(super) fn open(&self, packet: &mut [u8], parts: Parts, which: Which) -> Option<usize> {
        let end = parts.length.checked_sub(self.tag_length)?;
        let packet = packet.get_mut(..parts.length)?;
        match &self.mode {
            Mode::Gcm(key, salt) => {
                let (clear, body) = packet.split_at_mut_checked(parts.clear)?;
                let nonce = nonce(salt, which);
                key.open_in_place(nonce, Aad::from(&*clear), body).ok()?;
            }
            Mode::Cm128(cipher, salt, tags) => {
                let (body, tag) = packet.split_at_mut_checked(end)?;
                verify(tags, body, &rollover(which), tag)?;
                apply(cipher, salt, which, body.get_mut(parts.clear..)?);
            }
            Mode::Cm256(cipher, salt, tags) => {
                let (body, tag) = packet.split_at_mut_checked(end)?;
                verify(tags, body, &rollover(which), tag)?;
                apply(cipher, salt, which, body.get_mut(parts.clear..)?);
            }
        }
        Some(end)
    }

    /// The same for RTCP, whose index goes with the packet: before the tag of HMAC-SHA1 (RFC 3711
    /// §3.4), behind that of GCM (RFC 7714 §9.3).
    pub(super) fn seal_rtcp(&self, buffer: &mut [u8], parts: Parts, which: Which) -> Option<usize> {
        let end = parts.length.checked_add(self.tag_length + 4)?;
        let word = index_word(which);
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut_checked(parts.length)?;
        match &self.mode {
            Mode::Gcm(key, salt) => {
                let (clear, body) = packet.split_at_mut_checked(parts.clear)?;
                let aad = gcm_data(clear, word)?;
                let tag = key.seal_in_place_separate_tag(nonce(salt, which), aad, body);
                let (room, index) = rest.split_at_mut_checked(self.tag_length)?;
                room.copy_from_slice(tag.ok()?.as_ref());
                index.copy_from_slice(&word);
            }
            Mode::Cm128(cipher, salt, tags) => {
                apply(cipher, salt, which, packet.get_mut(parts.clear..)?);
                tag_rtcp(tags, packet, word, rest)?;
            }
            Mode::Cm256(cipher, salt, tags) => {
                apply(cipher, salt, which, packet.get_mut(parts.clear..)?);
                tag_rtcp(tags, packet, word, rest)?;
            }
        }
        Some(end)
    }

    /// The word with the index of an SRTCP packet, and where that lies.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<[u8; 4]> {
        let end = match &self.mode {
            Mode::Gcm(..) => packet.len(),
            Mode::Cm128(..) | Mode::Cm256(..) => packet.len().checked_sub(self.tag_length)?,
        };
        packet.get(..end)?.last_chunk().copied()
    }

    /// Checks an SRTCP packet and deciphers it; the length that is left.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], clear: usize, which: Which) -> Option<usize> {
        let left = packet.len().checked_sub(self.tag_length + 4)?;
        match &self.mode {
            Mode::Gcm(key, salt) => {
                let (clear, body) = packet.split_at_mut_checked(clear)?;
                let aad = gcm_data(clear, index_word(which))?;
                let body = body
                    .len()
                    .checked_sub(4)
                    .and_then(|end| body.get_mut(..end));
                key.open_in_place(nonce(salt, which), aad, body?).ok()?;
            }
            Mode::Cm128(cipher, salt, tags) => {
                verify_rtcp(tags, packet, self.tag_length)?;
                apply(cipher, salt, which, packet.get_mut(clear..left)?);
            }
            Mode::Cm256(cipher, salt, tags) => {
                verify_rtcp(tags, packet, self.tag_length)?;
                apply(cipher, salt, which, packet.get_mut(clear..left)?);
            }
        }
        Some(left)
    }
}

/// RFC 3711 §4.1.1: salt, SSRC and index, added without a carry.
#[inline]
fn counter(salt: &[u8; 14], which: Which) -> [u8; 16] {
    let [s0, s1, s2, s3, rest @ ..] = *salt;
    let mut block = u128::from(u32::from_be_bytes([s0, s1, s2, s3])) << 96;
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9] = rest;
    block |= u128::from(u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7])) << 32;
    block |= u128::from(u16::from_be_bytes([r8, r9])) << 16;
    block ^= u128::from(which.ssrc) << 64 ^ u128::from(which.index) << 16;
    block.to_be_bytes()
}

#[inline]
fn apply<C>(cipher: &C, salt: &[u8; 14], which: Which, body: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let iv = counter(salt, which).into();
    let core = CtrCore::<_, Ctr128BE>::inner_iv_init(cipher, &iv);
    // A packet is far shorter than a counter is long.
    let _ = core.try_apply_keystream_partial(body.into());
}

/// The counter of wraps, which is in the tag and not in the packet (RFC 3711 §4.2).
#[inline]
fn rollover(which: Which) -> [u8; 4] {
    let [_, _, r0, r1, r2, r3, _, _] = which.index.to_be_bytes();
    [r0, r1, r2, r3]
}

#[inline]
fn tag(tags: &Hmac<Sha1>, packet: &[u8], more: &[u8; 4], out: &mut [u8]) -> Option<()> {
    let mut mac = tags.clone();
    mac.update(packet);
    mac.update(more);
    let whole = mac.finalize().into_bytes();
    out.copy_from_slice(whole.get(..out.len())?);
    Some(())
}

/// In a time that does not depend on where the tags differ.
#[inline]
fn verify(tags: &Hmac<Sha1>, packet: &[u8], more: &[u8; 4], tag: &[u8]) -> Option<()> {
    let mut mac = tags.clone();
    mac.update(packet);
    mac.update(more);
    mac.verify_truncated_left(tag).ok()
}

fn tag_rtcp(tags: &Hmac<Sha1>, packet: &[u8], word: [u8; 4], rest: &mut [u8]) -> Option<()> {
    let (index, out) = rest.split_at_mut_checked(4)?;
    index.copy_from_slice(&word);
    tag(tags, packet, &word, out)
}

fn verify_rtcp(tags: &Hmac<Sha1>, packet: &[u8], tag_length: usize) -> Option<()> {
    let (body, tag) = packet.split_at_checked(packet.len().checked_sub(tag_length)?)?;
    let (packet, word) = body.split_last_chunk::<4>()?;
    verify(tags, packet, word, tag)
}

/// The index with the bit that says that the packet is enciphered.
fn index_word(which: Which) -> [u8; 4] {
    let [.., w0, w1, w2, w3] = which.index.to_be_bytes();
    [w0 | 0x80, w1, w2, w3]
}

/// With the salt: two zeros, SSRC, then rollover counter and sequence number (RFC 7714 §8.1), or two
/// zeros and the index of RTCP (§9.1).
#[inline]
fn nonce(salt: &[u8; 12], which: Which) -> Nonce {
    let block = u128::from(which.ssrc) << 48 ^ u128::from(which.index);
    let [_, _, _, _, block @ ..] = block.to_be_bytes();
    let mut nonce = *salt;
    for (to, from) in nonce.iter_mut().zip(block) {
        *to ^= from;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2: the first eight bytes and the word of the index.
fn gcm_data(clear: &[u8], word: [u8; 4]) -> Option<Aad<[u8; 12]>> {
    let head: [u8; 8] = clear.try_into().ok()?;
    let mut data = [0; 12];
    for (to, from) in data.iter_mut().zip(head.iter().chain(&word)) {
        *to = *from;
    }
    Some(Aad::from(data))
}
