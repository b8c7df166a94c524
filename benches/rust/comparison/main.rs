//! Measures the time in which our core and other crates convert a packet, and prints JSON.
//!
//! The CPU's maximum speed of multiplication is measured for comparison (`peak.rs`). The conversion
//! is mu-law to 16-bit PCM at another rate, or the reverse. The entries "filter" and "codec" measure
//! the two parts of our conversion separately. The other crates have no mu-law codec, so they are
//! combined with our mu-law codec. In a round, each competitor converts the same packet again and
//! again, for 2 s of audio. The order rotates, so a slowdown of the machine affects all of them.
//! Each competitor is timed separately; the report has the medians. The quality of each competitor is
//! measured first (`quality.rs`). Our output must be the same bytes in every round.
//!
//! With `--quick` the times are not valid.

use std::hint::black_box;
use std::time::{Duration, Instant};

use audiohook_audio::{
    InboundAudio, OutboundAudio, WireFormat, instruction_set, pcm_to_ulaw, ulaw_to_pcm,
};
use serde::Serialize;

use peak::peak_loops;
use quality::{Case, Quality, measure_quality, sine};
use resamplers::{MakeResampler, RESAMPLERS};

mod peak;
mod quality;
mod resamplers;

const WIRE_RATE: u32 = 8_000;
const RATES: [u32; 3] = [16_000, 24_000, 48_000];
const PACKETS_MS: [u32; 2] = [20, 200];
/// Duration of the audio that a competitor converts in a round. The duration is long enough for the
/// resolution of the clock.
const BATCH_MS: u32 = 2_000;
const WARM_UP_ROUNDS: usize = 3;

#[derive(Serialize)]
struct Report {
    instruction_set: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    direction: &'static str,
    rate: u32,
    packet_ms: u32,
    rounds: usize,
    /// Multiplications that the filter needs for a packet.
    products: u32,
    /// Nanoseconds for a packet by name; "filter" is our conversion from PCM to PCM, and "codec" is
    /// the mu-law codec alone.
    ns: Vec<(String, f64)>,
    /// Products per nanosecond of the peak loop, if there is one for our instruction set.
    peak: Option<f64>,
    quality: Vec<(&'static str, Quality)>,
}

fn is_inbound(direction: &str) -> bool {
    direction == "in"
}

/// Returns the multiplications for a packet of `wire_samples` at 8000 Hz.
///
/// A factor of six uses two filters, of 48 and 16 taps; other factors use one filter of 48 taps.
/// The outputs of one phase are equal to an input and need no multiplication. The reverse direction
/// has the same filters with one more tap in the middle.
fn products(direction: &str, rate: u32, wire_samples: u32) -> u32 {
    let per_sample = match (rate / WIRE_RATE, is_inbound(direction)) {
        (6, true) => 48 + 2 * 2 * 16,
        (6, false) => (48 + 1) + 2 * (2 * 16 + 1),
        (factor, true) => 48 * (factor - 1),
        (factor, false) => 48 * (factor - 1) + 1,
    };
    wire_samples * per_sample
}

/// Converts a packet and writes the result to the buffer.
type Convert = Box<dyn FnMut(&[u8], &mut Vec<u8>)>;

struct Competitor {
    name: String,
    convert: Convert,
    packet: Vec<u8>,
    out: Vec<u8>,
    /// Output for a packet after the filter is full; `None` if the output may vary.
    expected: Option<Vec<u8>>,
    ns: Vec<f64>,
}

impl Competitor {
    fn new(name: &str, packet: &[u8], exact: bool, convert: Convert) -> Self {
        let mut competitor = Self {
            name: name.to_owned(),
            convert,
            packet: packet.to_vec(),
            out: Vec::new(),
            expected: None,
            ns: Vec::new(),
        };
        // All filters are full after 200 ms.
        for _ in 0..10 {
            competitor.convert_packet();
        }
        competitor.expected = exact.then(|| competitor.out.clone());
        competitor
    }

    fn convert_packet(&mut self) {
        self.out.clear();
        (self.convert)(black_box(&self.packet), &mut self.out);
        black_box(&self.out);
    }

    fn run_round(&mut self, packets: u32) {
        let begin = Instant::now();
        for _ in 0..packets {
            self.convert_packet();
        }
        let elapsed = begin.elapsed().as_nanos() as f64;
        self.ns.push(elapsed / f64::from(packets));
        if let Some(expected) = &self.expected {
            assert_eq!(&self.out, expected, "{}", self.name);
        }
    }

    fn median_ns(&mut self) -> f64 {
        self.ns.sort_by(f64::total_cmp);
        self.ns[self.ns.len() / 2]
    }
}

/// Returns our conversion, which is a single call of the core.
fn ours(direction: &str, rate: u32) -> Convert {
    if is_inbound(direction) {
        let mut stream = InboundAudio::new(WireFormat::Pcmu, 1, rate).expect("supported rate");
        return Box::new(move |packet, out| {
            out.resize(stream.output_len(packet.len()).expect("whole frames"), 0);
            let result = stream.process_into(packet, &mut [out]);
            result.expect("exact buffer");
        });
    }
    let mut stream = OutboundAudio::new(WireFormat::Pcmu, rate).expect("supported rate");
    Box::new(move |packet, out| {
        out.resize(stream.output_len(packet.len()).expect("whole samples"), 0);
        stream.process_into(packet, out).expect("exact buffer");
    })
}

/// Returns another crate's resampler combined with our codec.
fn resampler_and_codec(make_resampler: MakeResampler, direction: &str, case: Case) -> Convert {
    let mut resampler = make_resampler(case.from, case.to, case.samples);
    let mut pcm = Vec::new();
    if is_inbound(direction) {
        return Box::new(move |packet, out| {
            pcm.resize(2 * packet.len(), 0);
            ulaw_to_pcm(packet, &mut pcm).expect("exact buffer");
            resampler.process(&pcm, out);
        });
    }
    Box::new(move |packet, out| {
        pcm.clear();
        resampler.process(packet, &mut pcm);
        out.resize(pcm.len() / 2, 0);
        pcm_to_ulaw(&pcm, out).expect("exact buffer");
    })
}

/// Returns the mu-law codec alone.
fn codec(direction: &str) -> Convert {
    if is_inbound(direction) {
        return Box::new(|wire, out| {
            out.resize(2 * wire.len(), 0);
            ulaw_to_pcm(wire, out).expect("exact buffer");
        });
    }
    Box::new(|pcm, out| {
        out.resize(pcm.len() / 2, 0);
        pcm_to_ulaw(pcm, out).expect("exact buffer");
    })
}

/// Measures all competitors at one direction, pipeline rate and packet length.
fn compare(direction: &'static str, rate: u32, packet_ms: u32, budget: Duration) -> Row {
    let (from, to) = if is_inbound(direction) {
        (WIRE_RATE, rate)
    } else {
        (rate, WIRE_RATE)
    };
    let samples_at = |rate: u32| rate * packet_ms / 1_000;
    let samples = samples_at(from);
    let case = Case { from, to, samples };
    let pcm = sine(1_004, from)[..2 * samples as usize].to_vec();
    let wire_pcm = sine(1_004, WIRE_RATE)[..2 * samples_at(WIRE_RATE) as usize].to_vec();
    let mut wire = vec![0; wire_pcm.len() / 2];
    pcm_to_ulaw(&wire_pcm, &mut wire).expect("exact buffer");
    let (packet, codec_packet) = if is_inbound(direction) {
        (&wire, &wire)
    } else {
        (&pcm, &wire_pcm)
    };

    let (mut competitors, mut quality) = (Vec::new(), Vec::new());
    for (name, make_resampler) in RESAMPLERS {
        let convert = if name == "ours" {
            ours(direction, rate)
        } else {
            resampler_and_codec(make_resampler, direction, case)
        };
        competitors.push(Competitor::new(name, packet, name == "ours", convert));
        quality.push((name, measure_quality(make_resampler, case)));
    }
    let mut filter = RESAMPLERS[0].1(from, to, samples);
    let filter: Convert = Box::new(move |packet, out| filter.process(packet, out));
    competitors.push(Competitor::new("filter", &pcm, true, filter));
    competitors.push(Competitor::new(
        "codec",
        codec_packet,
        true,
        codec(direction),
    ));
    let peak_loop = peak_loops()
        .into_iter()
        .find(|peak_loop| instruction_set() == Ok(peak_loop.instruction_set));
    let mut peak_ns = Vec::new();

    let packets = BATCH_MS / packet_ms;
    let end = Instant::now() + budget;
    let mut rounds = 0;
    while Instant::now() < end || rounds < 2 * WARM_UP_ROUNDS {
        rounds += 1;
        let first = rounds % competitors.len();
        for index in (first..competitors.len()).chain(0..first) {
            competitors[index].run_round(packets);
        }
        if let Some(peak_loop) = peak_loop {
            let begin = Instant::now();
            peak_loop.run();
            peak_ns.push(begin.elapsed().as_nanos() as f64);
        }
        if rounds == WARM_UP_ROUNDS {
            for competitor in &mut competitors {
                competitor.ns.clear();
            }
            peak_ns.clear();
        }
    }
    peak_ns.sort_by(f64::total_cmp);
    Row {
        direction,
        rate,
        packet_ms,
        rounds: rounds - WARM_UP_ROUNDS,
        products: products(direction, rate, samples_at(WIRE_RATE)),
        ns: competitors
            .iter_mut()
            .map(|competitor| (competitor.name.clone(), competitor.median_ns()))
            .collect(),
        peak: peak_loop.map(|peak_loop| peak_loop.products as f64 / peak_ns[peak_ns.len() / 2]),
        quality,
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let budget = Duration::from_millis(if quick { 1 } else { 3_000 });
    let mut rows = Vec::new();
    for direction in ["in", "out"] {
        for rate in RATES {
            for packet_ms in PACKETS_MS {
                rows.push(compare(direction, rate, packet_ms, budget));
            }
        }
    }
    let report = Report {
        instruction_set: instruction_set().expect("a supported instruction set"),
        rows,
    };
    serde_json::to_writer(std::io::stdout(), &report).expect("writable standard output");
}
