//! The demonstration's sound: a tone sent as real RTP (G.711 µ-law, 20 ms a packet), and what came
//! out at the far end: packets, loss, delay, and which tone it is.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long after the last packet was sent the last one may come.
const LAST: Duration = Duration::from_secs(5);

/// Samples in a packet of 20 ms at 8 kHz.
const SAMPLES: usize = 160;
const RATE: f64 = 8000.0;

/// What one direction carried.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Packets sent at the near end.
    pub sent: usize,
    /// Packets that arrived.
    pub received: usize,
    /// Median delay through the gateway.
    pub delay_median: Duration,
    /// Longest delay through the gateway.
    pub delay_max: Duration,
    /// The tone that was found in the sound, in hertz.
    pub tone: u32,
}

/// One end's RTP socket.
#[derive(Debug)]
pub struct Line {
    socket: UdpSocket,
    tone: u32,
    ssrc: u32,
}

struct Arrival {
    sequence: u16,
    at: Instant,
}

impl Line {
    /// Binds a line at `address` that sends a tone of `tone` hertz.
    ///
    /// # Errors
    /// The socket's.
    pub fn bind(address: SocketAddr, tone: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        Ok(Self {
            socket,
            tone,
            ssrc: 0x1EA5_0000 | tone,
        })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// The socket's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Both ends send for `duration` at 50 packets a second, each to where the gateway wants it.
/// Returns what `b` heard of `a`, and `a` of `b`.
///
/// # Errors
/// The sockets'.
pub fn converse(
    a: (&Line, SocketAddr),
    b: (&Line, SocketAddr),
    duration: Duration,
) -> io::Result<(Heard, Heard)> {
    let start = Instant::now() + Duration::from_millis(20);
    let count = usize::try_from(duration.as_millis() / 20).unwrap_or(0);
    let (from_a, from_b) = std::thread::scope(|scope| {
        let one = scope.spawn(|| run(a.0, a.1, start, count));
        let two = scope.spawn(|| run(b.0, b.1, start, count));
        (joined(one.join()), joined(two.join()))
    });
    let (sent_a, heard_a) = from_a?;
    let (sent_b, heard_b) = from_b?;
    Ok((judge(&sent_a, heard_b), judge(&sent_b, heard_a)))
}

type Ran = (Vec<Instant>, (Vec<Arrival>, Vec<i16>));

fn joined(result: std::thread::Result<io::Result<Ran>>) -> io::Result<Ran> {
    result.unwrap_or_else(|_| Err(io::Error::other("an audio thread failed")))
}

fn run(line: &Line, to: SocketAddr, start: Instant, count: usize) -> io::Result<Ran> {
    let mut sent = Vec::with_capacity(count);
    let (mut arrivals, mut sound) = (Vec::new(), Vec::new());
    let mut buffer = [0; 2048];
    let end = start + Duration::from_millis(20) * u32::try_from(count).unwrap_or(0);
    // All of it is sent and waited for; what a slow machine delays is not lost.
    while sent.len() < count
        || Instant::now() < end
        || (arrivals.len() < count && Instant::now() < end + LAST)
    {
        let due = start + Duration::from_millis(20) * u32::try_from(sent.len()).unwrap_or(0);
        if sent.len() < count && Instant::now() >= due {
            let packet = packet(line, sent.len());
            sent.push(Instant::now());
            line.socket.send_to(&packet, to)?;
        }
        match line.socket.recv_from(&mut buffer) {
            Ok((length, _)) => {
                if let Some([0x80, 0, high, low]) = buffer.first_chunk::<4>()
                    && length == 12 + SAMPLES
                {
                    let sequence = u16::from_be_bytes([*high, *low]);
                    arrivals.push(Arrival {
                        sequence,
                        at: Instant::now(),
                    });
                    sound.extend(
                        buffer
                            .iter()
                            .take(length)
                            .skip(12)
                            .map(|&byte| decode(byte)),
                    );
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((sent, (arrivals, sound)))
}

fn packet(line: &Line, index: usize) -> Vec<u8> {
    let sequence = u16::try_from(index & 0xffff).unwrap_or(0);
    let stamp = u32::try_from((index * SAMPLES) & 0xffff_ffff).unwrap_or(0);
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(stamp.to_be_bytes());
    packet.extend(line.ssrc.to_be_bytes());
    packet.extend((0..SAMPLES).map(|sample| {
        let time = (index * SAMPLES + sample) as f64 / RATE;
        let wave = (time * f64::from(line.tone) * std::f64::consts::TAU).sin();
        encode((wave * 8000.0) as i16)
    }));
    packet
}

fn judge(sent: &[Instant], (arrivals, sound): (Vec<Arrival>, Vec<i16>)) -> Heard {
    let mut delays: Vec<Duration> = arrivals
        .iter()
        .filter_map(|arrival| {
            sent.get(usize::from(arrival.sequence))
                .map(|at| arrival.at.saturating_duration_since(*at))
        })
        .collect();
    delays.sort_unstable();
    Heard {
        sent: sent.len(),
        received: delays.len(),
        delay_median: delays.get(delays.len() / 2).copied().unwrap_or_default(),
        delay_max: delays.last().copied().unwrap_or_default(),
        tone: strongest_tone(&sound),
    }
}

/// The strongest of the telephone band's multiples of 20 Hz, by Goertzel's algorithm; 0 in silence.
fn strongest_tone(sound: &[i16]) -> u32 {
    let power = |tone: u32| {
        let step = 2.0 * (f64::from(tone) / RATE * std::f64::consts::TAU).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for &sample in sound {
            (one, two) = (f64::from(sample) + step * one - two, one);
        }
        one * one + two * two - step * one * two
    };
    let best = (15..170)
        .map(|n| n * 20)
        .max_by(|a, b| power(*a).total_cmp(&power(*b)));
    best.filter(|tone| power(*tone) > 1.0).unwrap_or(0)
}

/// µ-law compression (ITU-T G.711).
fn encode(sample: i16) -> u8 {
    let sign: u8 = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(32_635) + 132;
    let exponent = 7u16.saturating_sub(
        u16::try_from(magnitude.leading_zeros())
            .unwrap_or(0)
            .saturating_sub(1),
    );
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | u8::try_from((exponent << 4) | mantissa).unwrap_or(0x7f))
}

/// µ-law expansion (ITU-T G.711).
fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + 132) << exponent;
    if byte & 0x80 == 0 {
        magnitude - 132
    } else {
        132 - magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companding_keeps_a_sample_within_its_step() {
        for sample in (-32_000..32_000i32).step_by(7) {
            let sample = i16::try_from(sample).unwrap();
            let back = decode(encode(sample));
            let error = (i32::from(back) - i32::from(sample)).abs();
            assert!(
                error <= (i32::from(sample).abs() + 132) / 16,
                "{sample} came back {back}"
            );
        }
    }

    #[test]
    fn a_tone_is_recognised() {
        for tone in [440, 880, 1000] {
            let line = Line::bind("127.0.0.1:0".parse().unwrap(), tone).unwrap();
            let sound: Vec<i16> = (0..50)
                .flat_map(|n| packet(&line, n).split_off(12))
                .map(decode)
                .collect();
            assert_eq!(strongest_tone(&sound), tone);
        }
        assert_eq!(strongest_tone(&[0; 8000]), 0);
    }
}
