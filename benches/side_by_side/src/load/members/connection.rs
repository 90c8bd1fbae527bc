//! A member's connection: one request at a time, awaited beside those of all others.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use wire::messages::{ApiVersionsRequest, RequestKind, ResponseKind};

use crate::client::{ANSWER_BYTES_MAX, answer_to, frame_of};

/// So many dial at one time: fewer than the 50 that wait in Kafka's listen backlog, whose overflow the kernel answers
/// with resets.
pub const DIALS_MAX: usize = 32;
const API_VERSIONS: i16 = 2;

/// A connection to the group's coordinator.
pub struct Connection {
    stream: TcpStream,
    next_id: i32,
}

impl Connection {
    /// Dials 127.0.0.1, when it is its turn, and asks for the broker's versions as clients do.
    pub async fn open(port: u16, dials: &Semaphore) -> Result<Self> {
        let _turn = dials.acquire().await?;
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let stream = stream.with_context(|| format!("nobody listens on {port}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, next_id: 0 };
        connection.call(API_VERSIONS, ApiVersionsRequest::default()).await?;
        Ok(connection)
    }

    /// Sends a request and awaits its answer.
    pub async fn call(&mut self, version: i16, request: impl Into<RequestKind>) -> Result<ResponseKind> {
        self.next_id += 1;
        let (api, frame) = frame_of(self.next_id, version, &request.into())?;
        self.stream.write_all(&frame).await?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let mut answer = vec![0; wire::frame::length(length, ANSWER_BYTES_MAX)?];
        self.stream.read_exact(&mut answer).await?;
        answer_to(self.next_id, api, version, answer)
    }
}
