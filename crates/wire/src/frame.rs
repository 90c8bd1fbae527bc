//! Kafka's frames: four bytes of length, then that many bytes.
//!
//! The length is the first thing a stranger says, so it is judged before a byte
//! is allocated. Reading and writing sockets is the caller's.

/// Bytes of the length that opens every frame.
pub const LENGTH_BYTES: usize = 4;

/// Largest request frame, Kafka's default of `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

/// Largest request frame before the client has proved who it is: room for any SASL token,
/// little enough that a thousand strangers cannot fill the memory.
pub const FRAME_BYTES_MAX_UNAUTHENTICATED: usize = 512 << 10;

/// Why a frame's length cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero.
    #[error("the frame's length is {0}; a length is 0 or more")]
    Negative(i32),
    /// Above what this connection may send.
    #[error("the frame's length is {length}; at most {max} bytes are accepted")]
    TooLong {
        /// What it said.
        length: usize,
        /// What is accepted.
        max: usize,
    },
}

/// The bytes that follow `length`, if they are at most `max`.
pub fn length(length: [u8; LENGTH_BYTES], max: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(length);
    let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    Ok(length)
}

/// A frame being written at the end of a buffer: its length is filled in when it ends.
#[derive(Debug)]
#[must_use = "a frame that does not end has no length"]
pub struct OpenFrame {
    start: usize,
}

impl OpenFrame {
    /// Begins a frame at the end of `out`.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        Self { start }
    }

    /// Fills in the length of all that was written since, and of `more_bytes` that follow from elsewhere
    /// (file ranges). `None`, and nothing of the frame stays in `out`, if that is more than a length can say.
    pub fn end(self, out: &mut Vec<u8>, more_bytes: usize) -> Option<usize> {
        let body = out.len() - self.start - LENGTH_BYTES;
        let total = body.checked_add(more_bytes).and_then(|total| i32::try_from(total).ok());
        match total {
            Some(total) => {
                out[self.start..self.start + LENGTH_BYTES].copy_from_slice(&total.to_be_bytes());
                Some(body + more_bytes)
            }
            None => {
                out.truncate(self.start);
                None
            }
        }
    }

    /// Takes back all that was written since.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameError, OpenFrame, length};

    #[test]
    fn a_length_is_judged_before_it_is_believed() {
        assert_eq!(length([0, 0, 0, 0], 10), Ok(0));
        assert_eq!(length([0, 0, 0, 10], 10), Ok(10));
        assert_eq!(length([0, 0, 0, 11], 10), Err(FrameError::TooLong { length: 11, max: 10 }));
        assert_eq!(length([0xff; 4], 10), Err(FrameError::Negative(-1)));
        assert_eq!(length([0x80, 0, 0, 0], usize::MAX), Err(FrameError::Negative(i32::MIN)));
        // "GET " and the first bytes of a TLS greeting, which strangers send to every port.
        assert!(length(*b"GET ", 100 << 20).is_err());
        assert!(length([0x16, 3, 1, 2], 100 << 20).is_err());
    }

    #[test]
    fn a_frame_knows_its_length_when_it_ends() {
        let mut out = vec![7];
        let frame = OpenFrame::begin(&mut out);
        out.extend_from_slice(b"abc");
        assert_eq!(frame.end(&mut out, 2), Some(5));
        assert_eq!(out, [7, 0, 0, 0, 5, b'a', b'b', b'c']);
    }

    #[test]
    fn a_frame_too_long_for_its_length_leaves_nothing() {
        let mut out = vec![7];
        let frame = OpenFrame::begin(&mut out);
        out.push(1);
        assert_eq!(frame.end(&mut out, i32::MAX as usize), None);
        assert_eq!(out, [7]);
    }
}
