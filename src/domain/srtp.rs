//! SRTP as descriptions and packets speak of it: who wants it, and the crypto suites with their names and the sizes of
//! what they use.

/// What a trunk says of SRTP on its legs (sip-bridging 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Srtp {
    /// Never.
    #[default]
    None,
    /// Where the other end takes it or asks for it; else plain RTP.
    Offered,
    /// Always: without it there is no call.
    Required,
}

/// A crypto suite (RFC 4568 §6.2, RFC 6188 §3, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`
    Cm128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`; the tag of SRTCP has 80 bits all the same.
    Cm128Sha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`
    Cm256Sha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`; the tag of SRTCP has 80 bits all the same.
    Cm256Sha1_32,
    /// `AEAD_AES_128_GCM`
    Gcm128,
    /// `AEAD_AES_256_GCM`
    Gcm256,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cm128Sha1_80,
        Self::Cm128Sha1_32,
        Self::Cm256Sha1_80,
        Self::Cm256Sha1_32,
        Self::Gcm128,
        Self::Gcm256,
    ];

    /// Its name in descriptions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Cm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Cm256Sha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Cm256Sha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::Gcm128 => "AEAD_AES_128_GCM",
            Self::Gcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes of a master key, and of the session key for its cipher.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Cm128Sha1_80 | Self::Cm128Sha1_32 | Self::Gcm128 => 16,
            Self::Cm256Sha1_80 | Self::Cm256Sha1_32 | Self::Gcm256 => 32,
        }
    }

    /// Bytes of a master salt.
    #[must_use]
    pub const fn salt_length(self) -> usize {
        if self.is_gcm() { 12 } else { 14 }
    }

    /// Bytes of a master key and its salt, as a description has them in a row.
    #[must_use]
    pub const fn master_length(self) -> usize {
        self.key_length() + self.salt_length()
    }

    /// Bytes of the tag of an SRTP packet.
    #[must_use]
    pub const fn tag_length(self) -> usize {
        match self {
            Self::Cm128Sha1_80 | Self::Cm256Sha1_80 => 10,
            Self::Cm128Sha1_32 | Self::Cm256Sha1_32 => 4,
            Self::Gcm128 | Self::Gcm256 => 16,
        }
    }

    /// Bytes of the tag of an SRTCP packet (RFC 3711 §5.2: 80 bits, whatever SRTP has).
    #[must_use]
    pub const fn rtcp_tag_length(self) -> usize {
        if self.is_gcm() { 16 } else { 10 }
    }

    /// Whether cipher and tag are one (RFC 7714).
    #[must_use]
    pub const fn is_gcm(self) -> bool {
        matches!(self, Self::Gcm128 | Self::Gcm256)
    }
}
