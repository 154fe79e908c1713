//! Session keys from a master key (RFC 3711 §4.3; RFC 6188 §3 with AES-256). The derivation rate is
//! zero: keys are derived once.

use super::key::MasterKey;
use aes::cipher::consts::{U16, U32};
use aes::cipher::{KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128Enc, Aes256Enc};
use ctr::Ctr128BE;

/// What a session key is for (§4.3.2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    RtpCipher = 0,
    RtpTag = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpTag = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the session key of this label: the key stream of AES in counter mode by the
/// master key, from the salt with the label in its seventh byte (§4.3.3).
pub(super) fn session_key(master: &MasterKey, label: Label, out: &mut [u8]) {
    let mut block = [0; 16];
    for (to, from) in block.iter_mut().zip(master.salt()) {
        *to = from;
    }
    if let Some(byte) = block.get_mut(7) {
        *byte ^= label as u8;
    }
    out.fill(0);
    let iv = block.into();
    if let Some(key) = sized::<U16>(master.key()) {
        Ctr128BE::<Aes128Enc>::new(key, &iv).apply_keystream(out);
    } else if let Some(key) = sized::<U32>(master.key()) {
        Ctr128BE::<Aes256Enc>::new(key, &iv).apply_keystream(out);
    }
}

/// The key of a block cipher, where the bytes are as many.
pub(super) fn sized<N: aes::cipher::array::ArraySize>(
    key: &[u8],
) -> Option<&aes::cipher::Array<u8, N>> {
    key.try_into().ok()
}

/// A block cipher of the session key `key`.
pub(super) fn block_cipher<C: KeyInit>(key: &[u8]) -> Option<C> {
    C::new_from_slice(key).ok()
}
