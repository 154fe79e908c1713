use super::*;
use proptest::prelude::*;
use std::time::Duration;

/// A WAV file: `fmt ` of these values, then the samples.
fn wav(tag: u16, channels: u16, rate: u32, bits: u16, samples: &[i16]) -> Vec<u8> {
    let mut format = Vec::new();
    format.extend(tag.to_le_bytes());
    format.extend(channels.to_le_bytes());
    format.extend(rate.to_le_bytes());
    format.extend((rate * 2).to_le_bytes());
    format.extend(2_u16.to_le_bytes());
    format.extend(bits.to_le_bytes());
    if tag == 0xfffe {
        format.extend([22, 0, 16, 0, 4, 0, 0, 0]);
        format.extend(PCM_SUBFORMAT);
    }
    file(&[("fmt ", &format), ("data", &bytes(samples))])
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect()
}

fn file(chunks: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = b"WAVE".to_vec();
    for (name, content) in chunks {
        body.extend(name.as_bytes());
        body.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        body.extend(*content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let mut file = b"RIFF".to_vec();
    file.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    file.extend(body);
    file
}

#[test]
fn plain_and_extensible_pcm_are_read() {
    let samples = [0, 1000, -1000, 32_767];
    for tag in [1, 0xfffe] {
        let recording = Recording::read(&wav(tag, 1, 8000, 16, &samples), None).unwrap();
        assert_eq!(recording.linear(), samples);
        for law in [Law::Mu, Law::A] {
            let codes = samples.map(|sample| law.encode(sample));
            assert_eq!(recording.codes(Encoding::G711(law)), codes);
        }
        assert!(recording.codes(Encoding::G722).is_empty());
    }
}

#[test]
fn other_chunks_are_passed_over_odd_ones_too() {
    let whole = wav(1, 1, 8000, 16, &[7]);
    let file = file(&[
        ("LIST", b"odd"),
        ("fmt ", &whole[20..36]),
        ("fact", &[1, 0, 0, 0]),
        ("data", &[7, 0]),
    ]);
    assert_eq!(Recording::read(&file, None).unwrap().linear(), [7]);
}

#[test]
fn anything_else_is_a_fault_that_says_what_was_found() {
    let fault = |wav: &[u8]| Recording::read(wav, None).unwrap_err();
    let one = [1; 8];
    assert_eq!(fault(b""), Fault::NotWav);
    assert_eq!(fault(b"RIFX\0\0\0\0WAVE"), Fault::NotWav);
    assert_eq!(fault(b"RIFF\0\0\0\0AVI "), Fault::NotWav);
    assert_eq!(fault(b"RIFF\0\0\0\0WAVE"), Fault::CutOff);
    assert_eq!(fault(&file(&[("data", &[0, 0])])), Fault::CutOff);
    assert_eq!(fault(&file(&[("fmt ", &[1, 0])])), Fault::CutOff);
    let good = wav(1, 1, 8000, 16, &one);
    assert_eq!(fault(&good[..good.len() - 1]), Fault::CutOff);
    for (tag, channels, rate, bits) in [
        (7, 1, 8000, 16),
        (1, 2, 8000, 16),
        (1, 1, 16_000, 16),
        (1, 1, 44_100, 16),
        (1, 1, 8000, 8),
    ] {
        let file = wav(tag, channels, rate, bits, &one);
        assert_eq!(fault(&file), Fault::Format(tag, channels, rate, bits));
    }
    let text = Fault::Format(1, 2, 44_100, 16).to_string();
    assert!(
        text.contains("found format 1, 2 channels, 44100 Hz, 16 bit"),
        "{text}"
    );
    // Extensible, but of floats.
    let mut floats = wav(0xfffe, 1, 8000, 16, &one);
    floats[44] = 3;
    assert_eq!(fault(&floats), Fault::Format(0xfffe, 1, 8000, 16));
    assert_eq!(fault(&wav(1, 1, 8000, 16, &[])), Fault::Empty);
}

#[test]
fn a_minute_is_the_most() {
    let minute = vec![0; RATE * MAX_SECONDS];
    let recording = Recording::read(&wav(1, 1, 8000, 16, &minute), None).unwrap();
    assert_eq!(recording.length(), Duration::from_secs(60));
    let more = vec![0; RATE * MAX_SECONDS + 1];
    let read = |wav: &[u8], g722: Option<&[u8]>| Recording::read(wav, g722).unwrap_err();
    assert_eq!(read(&wav(1, 1, 8000, 16, &more), None), Fault::TooLong);
    let prepared = vec![0; RATE * MAX_SECONDS + 1];
    assert_eq!(
        read(&wav(1, 1, 8000, 16, &[1]), Some(&prepared)),
        Fault::TooLong
    );
    assert_eq!(read(&wav(1, 1, 8000, 16, &[1]), Some(&[])), Fault::Empty);
}

#[test]
fn a_prepared_file_is_kept_as_it_is() {
    let recording = Recording::read(&wav(1, 1, 8000, 16, &[1]), Some(&[5; 16])).unwrap();
    assert_eq!(recording.codes(Encoding::G722), [5; 16]);
    assert_eq!(recording.length(), Duration::from_millis(2));
}

/// Power at a frequency (Goertzel), as a part of all power.
fn share(samples: &[i16], frequency: f64) -> f64 {
    let turn = 2.0 * std::f64::consts::PI * frequency / 8000.0;
    let (mut before, mut last) = (0.0, 0.0);
    for sample in samples {
        (before, last) = (last, f64::from(*sample) + 2.0 * turn.cos() * last - before);
    }
    let at = last * last + before * before - 2.0 * turn.cos() * last * before;
    let all: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    2.0 * at / (all * samples.len() as f64)
}

#[test]
fn the_tone_is_three_bursts_of_900_hz() {
    let tone = Recording::warning_tone();
    assert_eq!(tone.length(), Duration::from_millis(1800));
    for burst in 0..3 {
        let at = burst * 6400;
        assert!(share(&tone.linear()[at..at + 1600], 900.0) > 0.99);
        let silence = tone.linear().get(at + 1600..at + 6400).unwrap_or_default();
        assert!(silence.iter().all(|sample| *sample == 0));
    }
    let peak = tone.linear().iter().max().unwrap();
    assert!((8000..=8191).contains(peak), "{peak}");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Recording::read(&bytes, None);
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        file.extend(bytes);
        let _ = Recording::read(&file, None);
    }
}
