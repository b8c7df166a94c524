//! Other crates' resamplers beside ours at the whole job of the fused directions, and the peak
//! of the CPU's instruction beside both, in turns: whatever else the machine does
//! meets them all. Prints JSON.
//!
//! The job is mu-law to 16-bit PCM at another rate, and back. The others are lent our mu-law
//! codec, so they are charged for nothing slower than it. In a turn every competitor
//! handles the same packets once, in an order that rotates; each is timed alone, and the
//! medians are told. What a competitor is worth is measured first (`judge.rs`). Ours
//! must be good enough, and gives the same bytes in every turn.
//!
//! With `--quick` the times mean nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use audiohook_audio::{
    InboundAudio, OutboundAudio, WireFormat, instruction_set, pcm_to_ulaw, ulaw_to_pcm,
};
use serde::Serialize;

use judge::{Case, Verdict, judge, sine};
use peak_loops::peaks;
use streams::{Make, STREAMS};

mod judge;
#[path = "../peak_loops.rs"]
mod peak_loops;
mod streams;

const WIRE_RATE: u32 = 8_000;
const RATES: [u32; 3] = [16_000, 24_000, 48_000];
const PACKETS_MS: [u32; 2] = [20, 200];
/// Packets that a competitor handles in its turn, so that the clock does not matter.
const BATCH_MS: u32 = 2_000;
const WARM_UP: usize = 3;

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
    turns: usize,
    /// Products that the filter needs for a packet; the free phase needs none.
    products: u32,
    /// In nanoseconds for a packet, by name. "filter" is ours from PCM to PCM,
    /// "codec" the mu-law alone.
    ns: Vec<(String, f64)>,
    /// Products in a nanosecond, where there is a loop for our instruction set.
    peak: Option<f64>,
    verdicts: Vec<(&'static str, Verdict)>,
}

fn inbound(direction: &str) -> bool {
    direction == "in"
}

/// A cascade of 48 and 16 taps for six times, else 48 taps, for each output but those that
/// are the input itself; the way back is the same filter, and a tap in its middle.
fn products(direction: &str, rate: u32, wire: u32) -> u32 {
    let each = match (rate / WIRE_RATE, inbound(direction)) {
        (6, true) => 48 + 2 * 2 * 16,
        (6, false) => (48 + 1) + 2 * (2 * 16 + 1),
        (factor, true) => 48 * (factor - 1),
        (factor, false) => 48 * (factor - 1) + 1,
    };
    wire * each
}

/// A packet in, and what becomes of it.
type Work = Box<dyn FnMut(&[u8], &mut Vec<u8>)>;

/// A competitor.
struct Lane {
    name: String,
    work: Work,
    packet: Vec<u8>,
    out: Vec<u8>,
    /// What comes of the packet when it has come before, for those who promise it.
    steady: Option<Vec<u8>>,
    ns: Vec<f64>,
}

impl Lane {
    fn new(name: &str, packet: &[u8], exact: bool, work: Work) -> Self {
        let mut lane = Self {
            name: name.to_owned(),
            work,
            packet: packet.to_vec(),
            out: Vec::new(),
            steady: None,
            ns: Vec::new(),
        };
        // All filters are full after 200 ms.
        for _ in 0..10 {
            lane.call();
        }
        lane.steady = exact.then(|| lane.out.clone());
        lane
    }

    fn call(&mut self) {
        self.out.clear();
        (self.work)(black_box(&self.packet), &mut self.out);
        black_box(&self.out);
    }

    fn turn(&mut self, packets: u32) {
        let begin = Instant::now();
        for _ in 0..packets {
            self.call();
        }
        self.ns
            .push(begin.elapsed().as_nanos() as f64 / f64::from(packets));
        if let Some(steady) = &self.steady {
            assert_eq!(&self.out, steady, "{}", self.name);
        }
    }

    fn median(&mut self) -> f64 {
        self.ns.sort_by(f64::total_cmp);
        self.ns[self.ns.len() / 2]
    }
}

/// Ours, all of it in one call.
fn fused(direction: &str, rate: u32) -> Work {
    if inbound(direction) {
        let mut stream = InboundAudio::new(WireFormat::Pcmu, 1, rate).expect("supported");
        return Box::new(move |packet, out| {
            out.resize(stream.output_len(packet.len()).expect("whole frames"), 0);
            let done = stream.process_into(packet, &mut [out]);
            done.expect("exact buffer");
        });
    }
    let mut stream = OutboundAudio::new(WireFormat::Pcmu, rate).expect("supported");
    Box::new(move |packet, out| {
        out.resize(stream.output_len(packet.len()).expect("even"), 0);
        stream.process_into(packet, out).expect("exact buffer");
    })
}

/// Theirs, with our codec on its wire's side.
fn chain(make: Make, direction: &str, case: Case) -> Work {
    let mut stream = make(case.from, case.to, case.frames);
    let mut pcm = Vec::new();
    if inbound(direction) {
        return Box::new(move |packet, out| {
            pcm.resize(2 * packet.len(), 0);
            ulaw_to_pcm(packet, &mut pcm).expect("exact buffer");
            stream.process(&pcm, out);
        });
    }
    Box::new(move |packet, out| {
        pcm.clear();
        stream.process(packet, &mut pcm);
        out.resize(pcm.len() / 2, 0);
        pcm_to_ulaw(&pcm, out).expect("exact buffer");
    })
}

/// The mu-law alone.
fn codec(direction: &str) -> Work {
    if inbound(direction) {
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

fn race(direction: &'static str, rate: u32, packet_ms: u32, budget: Duration) -> Row {
    let (from, to) = if inbound(direction) {
        (WIRE_RATE, rate)
    } else {
        (rate, WIRE_RATE)
    };
    let samples = |rate: u32| rate * packet_ms / 1_000;
    let frames = samples(from);
    let case = Case { from, to, frames };
    let pcm = sine(1_004, from)[..2 * frames as usize].to_vec();
    let at_8000 = sine(1_004, WIRE_RATE)[..2 * samples(WIRE_RATE) as usize].to_vec();
    let mut wire = vec![0; at_8000.len() / 2];
    pcm_to_ulaw(&at_8000, &mut wire).expect("exact buffer");
    let (given, coded) = if inbound(direction) {
        (&wire, &wire)
    } else {
        (&pcm, &at_8000)
    };

    let (mut lanes, mut verdicts) = (Vec::new(), Vec::new());
    for (name, make) in STREAMS {
        let work = if name == "ours" {
            fused(direction, rate)
        } else {
            chain(make, direction, case)
        };
        lanes.push(Lane::new(name, given, name == "ours", work));
        verdicts.push((name, judge(make, case)));
    }
    let mut ours = STREAMS[0].1(from, to, frames);
    let filter: Work = Box::new(move |packet, out| ours.process(packet, out));
    lanes.push(Lane::new("filter", &pcm, true, filter));
    lanes.push(Lane::new("codec", coded, true, codec(direction)));
    let peak = peaks()
        .into_iter()
        .find(|peak| instruction_set() == Ok(peak.name));
    let mut peak_ns = Vec::new();

    let packets = BATCH_MS / packet_ms;
    let end = Instant::now() + budget;
    let mut turns = 0;
    while Instant::now() < end || turns < 2 * WARM_UP {
        turns += 1;
        let first = turns % lanes.len();
        for index in (first..lanes.len()).chain(0..first) {
            lanes[index].turn(packets);
        }
        if let Some(peak) = peak {
            let begin = Instant::now();
            peak.run();
            peak_ns.push(begin.elapsed().as_nanos() as f64);
        }
        if turns == WARM_UP {
            for lane in &mut lanes {
                lane.ns.clear();
            }
            peak_ns.clear();
        }
    }
    peak_ns.sort_by(f64::total_cmp);
    Row {
        direction,
        rate,
        packet_ms,
        turns: turns - WARM_UP,
        products: products(direction, rate, samples(WIRE_RATE)),
        ns: lanes
            .iter_mut()
            .map(|lane| (lane.name.clone(), lane.median()))
            .collect(),
        peak: peak.map(|peak| peak.products as f64 / peak_ns[peak_ns.len() / 2]),
        verdicts,
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let budget = Duration::from_millis(if quick { 1 } else { 3_000 });
    let mut rows = Vec::new();
    for direction in ["in", "out"] {
        for rate in RATES {
            for packet_ms in PACKETS_MS {
                rows.push(race(direction, rate, packet_ms, budget));
            }
        }
    }
    let report = Report {
        instruction_set: instruction_set().expect("no other was asked for"),
        rows,
    };
    serde_json::to_writer(std::io::stdout(), &report).expect("a pipe that is read");
}
