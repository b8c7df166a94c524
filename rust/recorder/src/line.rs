//! The lines of audio messages.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The content of an audio message.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The audio.
    Recorded(&'a [u8]),
    /// One byte of silence, which stands for all bytes of the message.
    Silence(u8),
    /// The audio is left out.
    Omitted,
}

/// An audio message.
#[derive(Clone, Copy, Debug)]
pub struct Audio<'a> {
    /// Seconds since the first message.
    pub at: f64,
    /// Whether the client sent the message.
    pub is_to_server: bool,
    /// Size of the message in bytes.
    pub size: u64,
    /// The content that is recorded.
    pub content: Content<'a>,
}

/// Upper bound of the size of a line without the audio, in bytes.
const MAX_LINE: usize = 128;

/// Returns an upper bound of the total size of the lines of `messages` audio messages, which have
/// `bytes` bytes of recorded audio in total.
#[must_use]
pub fn max_size(messages: usize, bytes: usize) -> usize {
    // Base64 encodes three bytes as four bytes.
    messages * MAX_LINE + bytes + bytes / 3
}

/// Appends the line of an audio message.
pub fn push_audio(lines: &mut Vec<u8>, audio: &Audio<'_>) {
    let direction = if audio.is_to_server {
        "to_server"
    } else {
        "from_server"
    };
    let (at, size) = (audio.at, audio.size);
    print(
        lines,
        format_args!(r#"{{"at":{at:.6},"direction":"{direction}","type":"audio","size":{size}"#),
    );
    match audio.content {
        Content::Recorded(bytes) => {
            lines.extend_from_slice(br#","audio":""#);
            push_base64(lines, bytes);
            lines.push(b'"');
        }
        Content::Silence(byte) => print(lines, format_args!(r#","silence":"{byte:02x}""#)),
        Content::Omitted => {}
    }
    lines.extend_from_slice(b"}\n");
}

fn print(lines: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = lines.write_fmt(text);
}

fn push_base64(lines: &mut Vec<u8>, bytes: &[u8]) {
    let begin = lines.len();
    lines.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // The space has exactly the size of the result, so encoding cannot fail.
    let _ = STANDARD.encode_slice(bytes, &mut lines[begin..]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(content: Content<'_>, at: f64, is_to_server: bool, size: u64) -> Value {
        let mut lines = b"before\n".to_vec();
        let audio = Audio {
            at,
            is_to_server,
            size,
            content,
        };
        push_audio(&mut lines, &audio);
        let text = String::from_utf8(lines).expect("JSON is UTF-8");
        let line = text.strip_prefix("before\n").expect("lines are appended");
        assert!(line.ends_with('\n'));
        serde_json::from_str(line).expect("the line is JSON")
    }

    #[test]
    fn recorded_audio_is_base64() {
        // RFC 4648, section 10.
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("", "")] {
            let content = Content::Recorded(bytes.as_bytes());
            assert_eq!(
                line(content, 1.25, true, bytes.len() as u64),
                json!({
                    "at": 1.25, "direction": "to_server", "type": "audio",
                    "size": bytes.len(), "audio": text
                })
            );
        }
    }

    #[test]
    fn masked_audio_is_one_byte_of_silence() {
        for (byte, text) in [(0xff, "ff"), (0, "00")] {
            assert_eq!(
                line(Content::Silence(byte), 0.0, false, 1600),
                json!({
                    "at": 0.0, "direction": "from_server", "type": "audio",
                    "size": 1600, "silence": text
                })
            );
        }
    }

    #[test]
    fn the_upper_bound_holds_for_the_longest_line() {
        for length in [0, 1, 2, 3, 1600, 64_000] {
            let mut lines = Vec::new();
            let audio = Audio {
                at: 999_999_999.999_999,
                is_to_server: false,
                size: u64::MAX,
                content: Content::Recorded(&vec![0x55; length]),
            };
            push_audio(&mut lines, &audio);
            assert!(lines.len() <= max_size(1, length));
        }
    }

    #[test]
    fn audio_that_is_left_out_has_its_size() {
        assert_eq!(
            line(Content::Omitted, 36_000.123_456, true, 800),
            json!({"at": 36_000.123_456, "direction": "to_server", "type": "audio", "size": 800})
        );
    }
}
