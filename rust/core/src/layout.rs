//! Conversion between interleaved stereo and two channels, for samples of 1 to 4 bytes,
//! and from 16-bit stereo to mono.
//!
//! Rules: splitting and merging move bytes without interpreting them, so byte order and
//! encoding do not matter. The left channel is the first channel of each frame; in
//! AudioHook that is `external`.

use crate::AudioError;
use crate::pcm::{SAMPLE_BYTES, exact_output, whole_frames};

/// Returns the length in bytes of each channel of `length` bytes of stereo.
///
/// # Errors
/// [`AudioError::SampleWidth`] unless `sample_width` is 1 to 4,
/// [`AudioError::PartialFrame`] unless `length` is a multiple of `2 * sample_width`.
pub fn stereo_channel_len(length: usize, sample_width: usize) -> Result<usize, AudioError> {
    let width = checked_width(sample_width)?;
    Ok(whole_frames(length, 2 * width)? * width)
}

/// Returns the length in bytes of the stereo audio that is made of two channels.
///
/// # Errors
/// [`AudioError::UnequalChannels`] unless the channels have the same length, and the
/// errors of [`stereo_channel_len`].
pub fn stereo_merged_len(
    left: usize,
    right: usize,
    sample_width: usize,
) -> Result<usize, AudioError> {
    let width = checked_width(sample_width)?;
    if left != right {
        return Err(AudioError::UnequalChannels { left, right });
    }
    whole_frames(left, width)?;
    left.checked_mul(2).ok_or(AudioError::OutputTooLarge {
        samples: left as u128 * 2 / width as u128,
    })
}

/// Splits interleaved stereo into its two channels.
pub fn split_stereo(
    stereo: &[u8],
    sample_width: usize,
    left: &mut [u8],
    right: &mut [u8],
) -> Result<(), AudioError> {
    let length = stereo_channel_len(stereo.len(), sample_width)?;
    exact_output(length, left.len())?;
    exact_output(length, right.len())?;
    match sample_width {
        1 => split::<1>(stereo, left, right),
        2 => split::<2>(stereo, left, right),
        3 => split::<3>(stereo, left, right),
        _ => split::<4>(stereo, left, right),
    }
    Ok(())
}

/// Interleaves two channels of equal length.
pub fn merge_stereo(
    left: &[u8],
    right: &[u8],
    sample_width: usize,
    stereo: &mut [u8],
) -> Result<(), AudioError> {
    let length = stereo_merged_len(left.len(), right.len(), sample_width)?;
    exact_output(length, stereo.len())?;
    match sample_width {
        1 => merge::<1>(left, right, stereo),
        2 => merge::<2>(left, right, stereo),
        3 => merge::<3>(left, right, stereo),
        _ => merge::<4>(left, right, stereo),
    }
    Ok(())
}

/// Returns the length in bytes of the mono audio that is made of `length` bytes of 16-bit stereo.
///
/// # Errors
/// [`AudioError::PartialFrame`] unless `length` is a multiple of 4.
pub fn stereo_mixed_len(length: usize) -> Result<usize, AudioError> {
    stereo_channel_len(length, SAMPLE_BYTES)
}

/// Averages the two channels of interleaved 16-bit little-endian stereo. The average is
/// rounded down.
pub fn mix_stereo(stereo: &[u8], mono: &mut [u8]) -> Result<(), AudioError> {
    exact_output(stereo_mixed_len(stereo.len())?, mono.len())?;
    let frames = stereo.as_chunks::<{ 2 * SAMPLE_BYTES }>().0;
    let mono = mono.as_chunks_mut::<SAMPLE_BYTES>().0;
    for ([a, b, c, d], sample) in frames.iter().zip(mono) {
        let left = i32::from(i16::from_le_bytes([*a, *b]));
        let right = i32::from(i16::from_le_bytes([*c, *d]));
        *sample = (((left + right) >> 1) as i16).to_le_bytes();
    }
    Ok(())
}

fn checked_width(sample_width: usize) -> Result<usize, AudioError> {
    if (1..=4).contains(&sample_width) {
        Ok(sample_width)
    } else {
        Err(AudioError::SampleWidth {
            sample_width: i64::try_from(sample_width).unwrap_or(i64::MAX),
        })
    }
}

fn split<const WIDTH: usize>(stereo: &[u8], left: &mut [u8], right: &mut [u8]) {
    let samples = stereo.as_chunks::<WIDTH>().0;
    let left = left.as_chunks_mut::<WIDTH>().0.iter_mut();
    let right = right.as_chunks_mut::<WIDTH>().0.iter_mut();
    for ([first, second], (left, right)) in samples.as_chunks::<2>().0.iter().zip(left.zip(right)) {
        *left = *first;
        *right = *second;
    }
}

fn merge<const WIDTH: usize>(left: &[u8], right: &[u8], stereo: &mut [u8]) {
    let samples = stereo.as_chunks_mut::<WIDTH>().0;
    let left = left.as_chunks::<WIDTH>().0.iter();
    let right = right.as_chunks::<WIDTH>().0.iter();
    for (frame, (left, right)) in samples
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(left.zip(right))
    {
        *frame = [*left, *right];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stereo_of_every_sample_width_is_split() {
        for width in 1..=4 {
            let stereo: Vec<u8> = (0..24).collect();
            let half = 12;
            let (mut left, mut right) = (vec![0; half], vec![0; half]);
            split_stereo(&stereo, width, &mut left, &mut right).expect("valid");
            for (i, &byte) in stereo.iter().enumerate() {
                let (frame, within) = (i / (2 * width), i % (2 * width));
                let (channel, at) = if within < width {
                    (&left, within)
                } else {
                    (&right, within - width)
                };
                assert_eq!(channel[frame * width + at], byte);
            }
        }
    }

    #[test]
    fn mixing_averages_the_channels_without_overflow() {
        let frames: [[i16; 2]; 4] = [[100, 50], [-1, 0], [i16::MAX; 2], [i16::MIN; 2]];
        let stereo: Vec<u8> = frames
            .iter()
            .flatten()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        let mut mono = vec![0; 8];
        mix_stereo(&stereo, &mut mono).expect("valid");
        let mixed: Vec<i16> = mono
            .chunks(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect();
        assert_eq!(mixed, [75, -1, i16::MAX, i16::MIN]);
        assert!(mix_stereo(&stereo[..6], &mut mono).is_err());
    }

    #[test]
    fn wrong_lengths_and_widths_are_rejected() {
        assert_eq!(
            stereo_channel_len(6, 2),
            Err(AudioError::PartialFrame {
                length: 6,
                frame: 4
            })
        );
        assert_eq!(
            stereo_channel_len(0, 5),
            Err(AudioError::SampleWidth { sample_width: 5 })
        );
        assert_eq!(
            stereo_merged_len(2, 4, 2),
            Err(AudioError::UnequalChannels { left: 2, right: 4 })
        );
        assert_eq!(
            stereo_merged_len(3, 3, 2),
            Err(AudioError::PartialFrame {
                length: 3,
                frame: 2
            })
        );
    }
}
