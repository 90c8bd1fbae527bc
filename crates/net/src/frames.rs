//! Frames off a stream: a 4-byte length, then as many bytes.
//!
//! Memory follows what has arrived, not what was claimed: a peer that announces
//! 100 MiB and sends ten bytes costs little. A reader that waits between two frames
//! holds nothing, so that ten thousand idle connections are cheap; one whose peer
//! sends much takes several frames with one read.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::seams::ReadHalf;

/// What the first read after a while has room for: a small request arrives in one.
const IDLE_BYTES: usize = 256;
/// What a read has room for at most beyond a frame's end, where more than the above came at once.
const BUSY_BYTES: usize = 256 << 10;
/// What a length is believed for before the bytes are there.
const TRUSTED_BYTES_MIN: usize = 64 << 10;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is negative or above the bound.
    #[error("a frame claims {claimed} bytes; at most {max} are accepted")]
    Length {
        /// As it stood on the wire.
        claimed: i32,
        /// The bound.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the connection ended within a frame, after {had} of its bytes")]
    Truncated {
        /// How many bytes of it were there, its length included.
        had: usize,
    },
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one frame after another.
pub struct FrameReader {
    read: Box<dyn ReadHalf>,
    buffer: BytesMut,
    /// The largest frame accepted.
    max: usize,
    /// The largest frame this peer really sent: its next claim is believed as far.
    trusted: usize,
    /// What the next read has room for when no length is known: twice of what the last one brought.
    ready: usize,
}

impl FrameReader {
    /// A reader that accepts frames of up to `max` bytes.
    pub fn new(read: Box<dyn ReadHalf>, max: usize) -> Self {
        Self { read, buffer: BytesMut::new(), max, trusted: TRUSTED_BYTES_MIN, ready: IDLE_BYTES }
    }

    /// Goes on with what arrives through `read`: the same connection, registered elsewhere.
    pub fn read_through(&mut self, read: Box<dyn ReadHalf>) {
        self.read = read;
    }

    /// Sets another bound, for the frames that follow.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The next frame's body; `None` when the peer closed between two frames. Not to be used
    /// again after an error. Cancelling loses nothing: what was read stays.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let missing = match self.claimed()? {
                Some(length) if self.buffer.len() >= 4 + length => {
                    return Ok(Some(self.take(length)));
                }
                Some(length) => {
                    let missing = (4 + length - self.buffer.len()).min(self.trusted.max(self.buffer.len()));
                    // What follows a small frame may be there too.
                    missing.max(self.ready)
                }
                None => self.ready,
            };
            let got = self.read(missing).await?;
            self.ready = (2 * got).clamp(IDLE_BYTES, BUSY_BYTES);
            if got == 0 {
                let had = self.buffer.len();
                return if had == 0 { Ok(None) } else { Err(FrameError::Truncated { had }) };
            }
        }
    }

    /// One read into room for `room` bytes, which is not held while nothing comes.
    async fn read(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| {
            self.buffer.reserve(room);
            let polled = pin!(self.read.read_buf(&mut self.buffer)).poll(cx);
            if polled.is_pending() && self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            polled
        })
        .await
    }

    /// Whether a whole further frame has arrived already.
    pub fn has_next(&self) -> bool {
        matches!(self.claimed(), Ok(Some(length)) if self.buffer.len() >= 4 + length)
    }

    fn claimed(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let claimed = i32::from_be_bytes(*prefix);
        let length = usize::try_from(claimed).ok().filter(|&length| length <= self.max);
        length.map(Some).ok_or(FrameError::Length { claimed, max: self.max })
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.trusted = self.trusted.max(length);
        self.buffer.advance(4);
        let frame = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Gives the allocation away with the frame instead of holding on to it while idle.
            self.buffer = BytesMut::new();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::FrameReader;

    async fn check(max: usize, bytes: &[u8], outcome: &[&str]) {
        let mut reader = FrameReader::new(Box::new(std::io::Cursor::new(bytes.to_vec())), max);
        let mut got = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(frame)) => got.push(String::from_utf8_lossy(&frame).into_owned()),
                Ok(None) => break got.push("end".to_owned()),
                Err(error) => break got.push(error.to_string()),
            }
        }
        assert_eq!(got, outcome);
    }

    #[tokio::test]
    async fn frames_come_one_by_one() {
        check(10, b"", &["end"]).await;
        check(10, b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01d", &["abc", "", "d", "end"]).await;
    }

    #[tokio::test]
    async fn many_small_frames_at_once_take_few_reads() {
        struct Counted(std::io::Cursor<Vec<u8>>, usize);
        impl tokio::io::AsyncRead for Counted {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.1 += 1;
                assert!(self.1 < 20, "a read for each frame");
                std::pin::Pin::new(&mut self.0).poll_read(cx, buffer)
            }
        }
        let frame = [&200u32.to_be_bytes()[..], &[7; 200]].concat();
        let bytes = std::io::Cursor::new(frame.repeat(200));
        let mut reader = FrameReader::new(Box::new(Counted(bytes, 0)), 1_000);
        for _ in 0..200 {
            assert_eq!(reader.next().await.expect("whole").as_deref(), Some(&[7; 200][..]));
        }
    }

    #[tokio::test]
    async fn a_reader_that_waits_for_the_next_frame_holds_nothing() {
        let (mut peer, stream) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(Box::new(stream), 1 << 20);
        let frame = [&100_000u32.to_be_bytes()[..], &[7; 100_000]].concat();
        for _ in 0..3 {
            tokio::io::AsyncWriteExt::write_all(&mut peer, &frame.repeat(4)).await.expect("room for them");
            for _ in 0..4 {
                let got = reader.next().await.expect("whole").expect("a frame");
                assert_eq!(got, frame[4..]);
            }
            assert!(futures_util::poll!(std::pin::pin!(reader.next())).is_pending());
            assert_eq!(reader.buffer.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn a_length_out_of_bounds_ends_the_stream() {
        check(10, b"\0\0\0\x0bx", &["a frame claims 11 bytes; at most 10 are accepted"]).await;
        check(10, b"\xff\xff\xff\xffx", &["a frame claims -1 bytes; at most 10 are accepted"]).await;
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_an_error() {
        let cut = "the connection ended within a frame, after 5 of its bytes";
        check(10, b"\0\0\0\x03a", &[cut]).await;
    }
}
