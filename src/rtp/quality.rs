//! How speech sounds, estimated from the network's figures: the E-model of ITU-T G.107 with its
//! default values, a listener with an ordinary telephone. Pure arithmetic.
//!
//! ```text
//!   R = Ro - Is - Id(delay) - Ie,eff(codec, loss, bursts)        G.107 equation 7-1, A = 0
//!   MOS = f(R)                                                   G.107 Annex B
//! ```
//!
//! Wideband codecs stand on the same narrowband scale, as if they were G.711: what a call loses on
//! its way shows, and what a wider band gains does not (G.107.1 has a scale of its own).

/// Noise at the reference point with all defaults, dBm0p: the default Ro of 94.77 is
/// `15 - 1.5 (SLR + No)` with SLR 8 (G.107 7.2).
const NOISE: f64 = -61.18;
/// Receive loudness rating (G.107 table 2).
const RECEIVE_LOUDNESS: f64 = 2.0;
/// Basic signal to noise ratio, `Ro`.
const SIGNAL_TO_NOISE: f64 = 15.0 - 1.5 * (8.0 + NOISE);
/// Impairments that come with the voice, `Is`: 1.41 with all defaults (G.107 7.3).
const SIMULTANEOUS: f64 = 1.4136;
/// Talker echo loudness rating, `TELR`, dB: an echo canceller at the far end.
const TALKER_ECHO: f64 = 65.0;
/// Weighted echo path loss, `WEPL`, dB.
const ECHO_PATH: f64 = 110.0;
/// Above it a delay is no longer told apart, milliseconds.
const LONGEST_DELAY: f64 = 10_000.0;

/// What a codec costs by itself and how well it takes losses (G.113 Appendix I).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// G.711, and every codec without published figures: the decoder conceals losses.
    #[default]
    G711,
    /// G.729, Annex A with silence suppression.
    G729,
    /// G.723.1 at 6.3 kbit/s with silence suppression.
    G723,
    /// GSM full rate; its robustness is not published: that of the enhanced one.
    Gsm,
    /// GSM enhanced full rate, and AMR, whose 12.2 kbit/s mode it is.
    GsmEfr,
    /// Comfort noise or tones: no voice.
    None,
}

impl Voice {
    /// By the encoding name of an SDP `rtpmap`; G.711's where nothing is published of it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = [
            ("G729", Self::G729),
            ("G729D", Self::G729),
            ("G729E", Self::G729),
            ("G723", Self::G723),
            ("GSM", Self::Gsm),
            ("GSM-EFR", Self::GsmEfr),
            ("AMR", Self::GsmEfr),
            ("CN", Self::None),
            ("telephone-event", Self::None),
        ];
        let found = known.iter().find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map_or(Self::G711, |(_, voice)| *voice)
    }

    /// Equipment impairment `Ie` and packet-loss robustness `Bpl`.
    const fn impairment(self) -> (f64, f64) {
        match self {
            Self::G711 | Self::None => (0.0, 25.1),
            Self::G729 => (11.0, 19.0),
            Self::G723 => (15.0, 16.1),
            Self::Gsm => (20.0, 10.0),
            Self::GsmEfr => (5.0, 10.0),
        }
    }

    /// What its coder waits for before it can send: a frame of speech and what lies ahead, and no
    /// less than a packet of 20 ms, milliseconds.
    const fn delay_ms(self) -> f64 {
        match self {
            Self::G711 | Self::None | Self::Gsm | Self::GsmEfr => 20.0,
            Self::G729 => 25.0,
            Self::G723 => 37.5,
        }
    }
}

/// One direction of a call as the network had it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Its codec.
    pub voice: Voice,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// How much longer losses last than they would by chance, `BurstR`; 1 is by chance.
    pub burst_ratio: f64,
    /// Jitter, seconds: a play-out buffer holds about twice as much.
    pub jitter: f64,
    /// There and back through the network, seconds; 0 where it is not known.
    pub round_trip: f64,
}

impl Path {
    /// From mouth to ear, milliseconds, as far as it is known.
    #[must_use]
    pub fn delay_ms(&self) -> f64 {
        let network = number(self.round_trip) / 2.0 + 2.0 * number(self.jitter);
        self.voice.delay_ms() + network * 1_000.0
    }

    /// Transmission rating R, 0 to 100: 93.2 with nothing lost and no delay.
    #[must_use]
    pub fn rating(&self) -> f64 {
        let equipment = equipment_impairment(self.voice, self.loss, self.burst_ratio);
        rating_of(self.delay_ms(), equipment)
    }

    /// Mean opinion score, 1 (bad) to 4.4 (as good as G.711 gets).
    #[must_use]
    pub fn mean_opinion_score(&self) -> f64 {
        mean_opinion_score(self.rating())
    }
}

/// A figure that is one: hostile or missing ones are nought.
fn number(value: f64) -> f64 {
    if value.is_finite() {
        value.max(0.0)
    } else {
        0.0
    }
}

/// R from the one-way delay, milliseconds, and `Ie,eff`.
fn rating_of(delay_ms: f64, equipment: f64) -> f64 {
    let rating = SIGNAL_TO_NOISE - SIMULTANEOUS - delay_impairment(delay_ms) - equipment;
    rating.clamp(0.0, 100.0)
}

/// `Id` (G.107 7.4): talker echo, listener echo, and the wait itself, for one delay of all parts
/// (`Ta = T`, `Tr = 2 T`).
fn delay_impairment(delay_ms: f64) -> f64 {
    let delay = number(delay_ms).min(LONGEST_DELAY);
    talker_echo(delay) + listener_echo(2.0 * delay) + absolute_delay(delay)
}

/// `Idte` (7-19 to 7-23).
fn talker_echo(delay: f64) -> f64 {
    let growth = (1.0 + delay / 10.0) / (1.0 + delay / 150.0);
    let echo = TALKER_ECHO - 40.0 * growth.log10() + 6.0 * (-0.3 * delay * delay).exp();
    let heard = 80.0 + 2.5 * (echo - 14.0);
    let clear = -1.5 * (NOISE - RECEIVE_LOUDNESS);
    let half = (clear - heard) / 2.0;
    (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-delay).exp())
}

/// `Idle` (7-25, 7-26).
fn listener_echo(round_trip: f64) -> f64 {
    let heard = 10.5 * (ECHO_PATH + 7.0) * (round_trip + 1.0).powf(-0.25);
    let half = (SIGNAL_TO_NOISE - heard) / 2.0;
    half + (half * half + 169.0).sqrt()
}

/// `Idd` (7-27, 7-28): nothing up to 100 ms.
fn absolute_delay(delay: f64) -> f64 {
    if delay <= 100.0 {
        return 0.0;
    }
    let x = (delay / 100.0).log2();
    let root = |value: f64| (1.0 + value.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// `Ie,eff` (7-29) from the share lost.
fn equipment_impairment(voice: Voice, loss: f64, burst_ratio: f64) -> f64 {
    let (own, robustness) = voice.impairment();
    let percent = number(loss).min(1.0) * 100.0;
    // Longer bursts than twice chance are beyond what the formula was fitted to.
    let bursts = number(burst_ratio).clamp(1.0, 2.0);
    own + (95.0 - own) * percent / (percent / bursts + robustness)
}

/// MOS from R (G.107 Annex B). Under 6.5 the published curve dips below 1; it ends there.
#[must_use]
pub fn mean_opinion_score(rating: f64) -> f64 {
    let r = number(rating).min(100.0);
    let score = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    score.clamp(1.0, 4.5)
}

/// How much longer losses last than by chance, from packets expected, lost, and the number of gaps
/// that they were lost in (G.107 7.5: mean length of a burst over that of random losses).
#[must_use]
#[allow(clippy::cast_precision_loss)] // counts of packets of one call
pub fn burst_ratio(expected: u64, lost: u64, gaps: u64) -> f64 {
    if expected == 0 || gaps == 0 || lost == 0 {
        return 1.0;
    }
    let share = (lost as f64 / expected as f64).min(1.0);
    (lost as f64 / gaps as f64 * (1.0 - share)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(found: f64, expected: f64, margin: f64) {
        assert!((found - expected).abs() <= margin, "{found} for {expected}");
    }

    /// G.107 clause 7.7: all parameters at their defaults give R = 93.2, and that is a MOS of 4.41.
    #[test]
    fn the_defaults_of_the_model_give_its_published_rating() {
        near(rating_of(0.0, 0.0), 93.2, 0.05);
        near(mean_opinion_score(93.2), 4.41, 0.005);
    }

    /// G.107 table B.1: lower limits of R and of MOS of the categories of satisfaction.
    #[test]
    fn ratings_become_scores_by_annex_b() {
        for (rating, score) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
            (0.0, 1.0),
            (100.0, 4.5),
        ] {
            near(mean_opinion_score(rating), score, 0.01);
        }
        near(mean_opinion_score(f64::NAN), 1.0, 0.0);
    }

    /// G.113 Appendix I: what a codec costs without any loss stands in full.
    #[test]
    fn codecs_cost_what_is_published() {
        for (name, own) in [
            ("PCMA", 0.0),
            ("g729", 11.0),
            ("G723", 15.0),
            ("GSM-EFR", 5.0),
            ("AMR", 5.0),
            ("opus", 0.0),
        ] {
            near(
                equipment_impairment(Voice::named(name), 0.0, 1.0),
                own,
                1e-9,
            );
        }
        // As much loss as the robustness costs half of what is left.
        near(equipment_impairment(Voice::G711, 0.251, 1.0), 47.5, 1e-9);
        near(equipment_impairment(Voice::G729, 0.19, 1.0), 53.0, 1e-9);
    }

    /// G.114: up to 150 ms hardly anybody minds; at 400 ms many do.
    #[test]
    fn delay_costs_little_up_to_150_ms_and_much_at_400() {
        near(absolute_delay(100.0), 0.0, 0.0);
        let near_by = rating_of(0.0, 0.0) - rating_of(150.0, 0.0);
        assert!((0.5..4.0).contains(&near_by), "{near_by}");
        let far = rating_of(0.0, 0.0) - rating_of(400.0, 0.0);
        assert!((25.0..40.0).contains(&far), "{far}");
    }

    #[test]
    fn bursts_are_told_from_chance() {
        near(burst_ratio(1000, 50, 50), 1.0, 0.0);
        near(burst_ratio(1000, 50, 25), 1.9, 1e-9);
        near(burst_ratio(0, 0, 0), 1.0, 0.0);
        near(burst_ratio(10, 20, 1), 1.0, 0.0);
        let by_chance = equipment_impairment(Voice::G711, 0.05, 1.0);
        assert!(equipment_impairment(Voice::G711, 0.05, 2.0) > by_chance);
    }

    proptest! {
        #[test]
        fn nothing_that_gets_worse_sounds_better(
            loss in 0.0_f64..0.9, jitter in 0.0_f64..0.5, trip in 0.0_f64..2.0,
            bursts in 1.0_f64..2.0, more in 0.0_f64..0.1,
        ) {
            let path = Path { voice: Voice::G711, loss, burst_ratio: bursts, jitter, round_trip: trip };
            let before = path.mean_opinion_score();
            prop_assert!((1.0..=4.5).contains(&before));
            for worse in [
                Path { loss: loss + more, ..path },
                Path { jitter: jitter + more, ..path },
                Path { round_trip: trip + more, ..path },
                Path { burst_ratio: bursts + more, ..path },
                Path { voice: Voice::G729, ..path },
            ] {
                prop_assert!(worse.rating() <= path.rating() + 1e-6, "{worse:?}");
                // The cubic of Annex B dips a little below 1 near a rating of 6; hence the margin.
                prop_assert!(worse.mean_opinion_score() <= before + 1e-3);
            }
        }

        #[test]
        fn no_figures_make_a_score_that_is_none(
            loss in any::<f64>(), jitter in any::<f64>(), trip in any::<f64>(), bursts in any::<f64>(),
        ) {
            let path = Path { voice: Voice::G723, loss, burst_ratio: bursts, jitter, round_trip: trip };
            prop_assert!((1.0..=4.5).contains(&path.mean_opinion_score()));
        }
    }
}
