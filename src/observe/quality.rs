//! How a call sounded, estimated from the network's figures (ITU-T G.107, the E-model).

/// Delay of the coder and of the network that we do not see, seconds: a guess that keeps a perfect
/// line at 4.4.
const BASE_DELAY: f64 = 0.02;
/// Robustness against loss of a decoder that conceals it: Bpl of G.711 with concealment
/// (G.113, table I.4).
const ROBUSTNESS: f64 = 25.1;

/// Mean opinion score, 1 (bad) to 4.4 (as good as G.711 gets), from the share of packets lost
/// (0 to 1) and the jitter in seconds.
#[must_use]
pub fn mean_opinion_score(loss: f64, jitter: f64) -> f64 {
    let loss = if loss.is_finite() {
        loss.clamp(0.0, 1.0)
    } else {
        1.0
    };
    let jitter = if jitter.is_finite() {
        jitter.max(0.0)
    } else {
        1.0
    };
    // A play-out buffer holds about twice the jitter.
    let delay_ms = (BASE_DELAY + 2.0 * jitter) * 1_000.0;
    let late = (delay_ms - 177.3).max(0.0);
    let delay_impairment = 0.024 * delay_ms + 0.11 * late;
    let percent = loss * 100.0;
    let loss_impairment = 95.0 * percent / (percent + ROBUSTNESS);
    let rating = (93.2 - delay_impairment - loss_impairment).clamp(0.0, 100.0);
    let score = 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6;
    score.clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::mean_opinion_score;
    use proptest::prelude::*;

    #[test]
    fn a_perfect_line_is_good_and_a_broken_one_is_bad() {
        assert!((4.3..4.5).contains(&mean_opinion_score(0.0, 0.0)));
        assert!((2.0..4.0).contains(&mean_opinion_score(0.05, 0.02)));
        assert!(mean_opinion_score(0.9, 0.5) < 1.5);
    }

    proptest! {
        #[test]
        fn more_loss_or_jitter_never_sounds_better(
            loss in 0.0_f64..0.9, jitter in 0.0_f64..0.5, more in 0.0_f64..0.1,
        ) {
            let before = mean_opinion_score(loss, jitter);
            prop_assert!((1.0..=4.5).contains(&before));
            // The cubic of G.107 dips a little below 1 near rating 6; hence the margin.
            prop_assert!(mean_opinion_score(loss + more, jitter) <= before + 1e-3);
            prop_assert!(mean_opinion_score(loss, jitter + more) <= before + 1e-3);
        }
    }
}
