//! Conversion between 16-bit samples and bytes.
//!
//! Rules: each sample is converted independently, without state. The caller has checked
//! the lengths; if the lengths differ, only as many samples as the shorter slice has are converted.
//! The loops are simple, so that the compiler turns them into vector moves.

use std::str::FromStr;

use crate::AudioError;

/// Bytes in one 16-bit sample.
pub(crate) const SAMPLE_BYTES: usize = 2;

/// Order of the two bytes of a 16-bit sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first, as in WAV files and Python frameworks.
    #[default]
    Little,
    /// Most significant byte first, as RFC 3551 defines L16 for RTP.
    Big,
}

impl FromStr for ByteOrder {
    type Err = AudioError;

    fn from_str(name: &str) -> Result<Self, AudioError> {
        match name {
            "little" => Ok(Self::Little),
            "big" => Ok(Self::Big),
            _ => Err(AudioError::UnknownByteOrder { name: name.into() }),
        }
    }
}

impl ByteOrder {
    pub(crate) fn decode(self, bytes: [u8; SAMPLE_BYTES]) -> i16 {
        match self {
            Self::Little => i16::from_le_bytes(bytes),
            Self::Big => i16::from_be_bytes(bytes),
        }
    }

    /// Reads samples from the front of `bytes`.
    pub(crate) fn read(self, bytes: &[u8], samples: &mut [i16]) {
        let (pairs, _) = bytes.as_chunks::<SAMPLE_BYTES>();
        match self {
            Self::Little => {
                for (sample, &pair) in samples.iter_mut().zip(pairs) {
                    *sample = i16::from_le_bytes(pair);
                }
            }
            Self::Big => {
                for (sample, &pair) in samples.iter_mut().zip(pairs) {
                    *sample = i16::from_be_bytes(pair);
                }
            }
        }
    }

    /// Writes `samples` to the front of `bytes`.
    pub(crate) fn write(self, samples: &[i16], bytes: &mut [u8]) {
        let (pairs, _) = bytes.as_chunks_mut::<SAMPLE_BYTES>();
        match self {
            Self::Little => {
                for (pair, sample) in pairs.iter_mut().zip(samples) {
                    *pair = sample.to_le_bytes();
                }
            }
            Self::Big => {
                for (pair, sample) in pairs.iter_mut().zip(samples) {
                    *pair = sample.to_be_bytes();
                }
            }
        }
    }
}

/// Calls `write` to fill a whole number of PCM samples. The samples are written in place
/// if the address is even and the machine is little-endian, otherwise through a copy.
pub(crate) fn with_samples(pcm: &mut [u8], write: impl FnOnce(&mut [i16])) {
    if cfg!(target_endian = "little")
        && let Ok(samples) = bytemuck::try_cast_slice_mut(pcm)
    {
        return write(samples);
    }
    let mut samples = vec![0; pcm.len() / SAMPLE_BYTES];
    write(&mut samples);
    ByteOrder::Little.write(&samples, pcm);
}

/// Returns the number of frames in `length` bytes.
///
/// # Errors
/// [`AudioError::PartialFrame`] if `length` is not a multiple of `frame`.
pub(crate) fn whole_frames(length: usize, frame: usize) -> Result<usize, AudioError> {
    if length.is_multiple_of(frame) {
        Ok(length / frame)
    } else {
        Err(AudioError::PartialFrame { length, frame })
    }
}

/// Checks that the length of an output buffer is the length of the result.
///
/// # Errors
/// [`AudioError::OutputLength`] if the lengths differ.
pub(crate) fn exact_output(expected: usize, actual: usize) -> Result<(), AudioError> {
    if expected == actual {
        Ok(())
    } else {
        Err(AudioError::OutputLength { expected, actual })
    }
}

/// Returns the length of `samples` samples of `width` bytes each.
///
/// # Errors
/// [`AudioError::OutputTooLarge`] if the length exceeds the largest possible allocation.
pub(crate) fn byte_length(samples: u128, width: usize) -> Result<usize, AudioError> {
    let bytes = samples * width as u128;
    isize::try_from(bytes)
        .map(isize::cast_unsigned)
        .map_err(|_| AudioError::OutputTooLarge { samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_read_back_every_sample_they_write() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for sample in i16::MIN..=i16::MAX {
                let mut bytes = [0; 2];
                order.write(&[sample], &mut bytes);
                assert_eq!(order.decode(bytes), sample);
                let mut read = [0];
                order.read(&bytes, &mut read);
                assert_eq!(read, [sample]);
            }
        }
    }

    #[test]
    fn samples_are_written_at_any_address() {
        for offset in 0..4 {
            let mut bytes = [0xff; 12];
            with_samples(&mut bytes[offset..][..8], |samples| {
                samples.copy_from_slice(&[0x0102, -2, 0, 0x7fff]);
            });
            let mut expected = [0xff; 12];
            expected[offset..][..8].copy_from_slice(&[2, 1, 0xfe, 0xff, 0, 0, 0xff, 0x7f]);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn big_endian_writes_the_high_byte_first() {
        let mut bytes = [0; 2];
        ByteOrder::Big.write(&[0x1234], &mut bytes);
        assert_eq!(bytes, [0x12, 0x34]);
        ByteOrder::Little.write(&[0x1234], &mut bytes);
        assert_eq!(bytes, [0x34, 0x12]);
    }

    #[test]
    fn byte_order_names_are_parsed() {
        assert_eq!("little".parse(), Ok(ByteOrder::Little));
        assert_eq!("big".parse(), Ok(ByteOrder::Big));
        assert_eq!(
            "Big".parse::<ByteOrder>(),
            Err(AudioError::UnknownByteOrder { name: "Big".into() })
        );
    }
}
