//! The floor: the least program that could do the work, to show what this machine allows.
//!
//! It reads a frame, checks each batch's CRC and the bounds of its records, appends
//! to a file in the page cache and answers; it answers fetches with `sendfile`. A
//! thread a connection, blocking calls. It speaks Produce 12 and Fetch 11, knows no
//! metadata, and believes its only client; whatever else arrives ends the connection.

mod parse;
mod partition;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail, ensure};

use parse::{FetchAsked, Header, Produce};
use partition::Partition;

type Shared = Arc<Mutex<Partition>>;
type Topics = HashMap<Vec<u8>, HashMap<i32, Shared>>;

/// What a read from a socket may bring at once.
const READ_BYTES: usize = 128 << 10;

/// All partitions.
struct Store {
    dir: PathBuf,
    topics: Mutex<Topics>,
}

impl Store {
    fn partition(&self, topic: &[u8], index: i32) -> Result<Shared> {
        let mut topics = self.topics.lock().expect("no holder of this lock panics");
        let partitions = topics.entry(topic.to_vec()).or_default();
        if let Some(known) = partitions.get(&index) {
            return Ok(known.clone());
        }
        let path = self.dir.join(format!("{}-{index}.log", String::from_utf8_lossy(topic)));
        let made = Arc::new(Mutex::new(Partition::create(&path)?));
        partitions.insert(index, made.clone());
        Ok(made)
    }
}

/// Serves until it is killed.
pub fn serve(port: u16, dir: &Path) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let store = Arc::new(Store { dir: dir.to_owned(), topics: Mutex::default() });
    for stream in listener.incoming() {
        let (stream, store) = (stream?, store.clone());
        stream.set_nodelay(true)?;
        std::thread::spawn(move || {
            let connection = Connection { stream, store, known: Topics::new(), answers: Vec::new() };
            if let Err(error) = connection.run() {
                eprintln!("a connection ended: {error:#}");
            }
        });
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    store: Arc<Store>,
    /// Partitions this connection has seen: no lock shared by all is taken again.
    known: Topics,
    answers: Vec<u8>,
}

impl Connection {
    fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let mut taken = 0;
            while let Some(length) = whole_frame(&buffer[taken..filled])? {
                self.answer(&mut buffer[taken + 4..taken + 4 + length])?;
                taken += 4 + length;
            }
            if !self.answers.is_empty() {
                self.stream.write_all(&self.answers)?;
                self.answers.clear();
            }
            buffer.copy_within(taken..filled, 0);
            filled -= taken;
            let wanted = claimed(&buffer[..filled]).map_or(READ_BYTES, |length| 4 + length);
            if buffer.len() < wanted {
                buffer.resize(wanted, 0);
            }
        }
    }

    fn answer(&mut self, frame: &mut [u8]) -> Result<()> {
        let (header, body) = Header::parse(frame)?;
        match (header.api_key, header.version) {
            (0, 12) => self.produce(header.correlation_id, body),
            (1, 11) => self.fetch(header.correlation_id, &FetchAsked::parse(body)?),
            other => bail!("the floor knows no request {other:?}"),
        }
    }

    fn partition(&mut self, topic: &[u8], index: i32) -> Result<&Shared> {
        let is_known = self.known.get(topic).is_some_and(|partitions| partitions.contains_key(&index));
        if !is_known {
            let found = self.store.partition(topic, index)?;
            self.known.entry(topic.to_vec()).or_default().insert(index, found);
        }
        Ok(&self.known[topic][&index])
    }

    fn produce(&mut self, correlation_id: i32, body: &mut [u8]) -> Result<()> {
        let start = self.answers.len();
        self.answers.extend_from_slice(&[0; 4]);
        self.answers.extend_from_slice(&correlation_id.to_be_bytes());
        self.answers.push(0);
        let mut produce = Produce::parse(body)?;
        parse::write_varint(produce.topics + 1, &mut self.answers);
        for _ in 0..produce.topics {
            let (name, partitions) = produce.topic()?;
            let name = name.to_vec();
            parse::write_varint(u32::try_from(name.len())? + 1, &mut self.answers);
            self.answers.extend_from_slice(&name);
            parse::write_varint(partitions + 1, &mut self.answers);
            for _ in 0..partitions {
                let (index, batch) = produce.partition()?;
                let base = append(self.partition(&name, index)?, batch)?;
                self.answers.extend_from_slice(&index.to_be_bytes());
                self.answers.extend_from_slice(&0i16.to_be_bytes());
                self.answers.extend_from_slice(&base.to_be_bytes());
                self.answers.extend_from_slice(&(-1i64).to_be_bytes());
                self.answers.extend_from_slice(&0i64.to_be_bytes());
                // No record errors, no message, no tagged fields.
                self.answers.extend_from_slice(&[1, 0, 0]);
            }
            produce.end_topic()?;
            self.answers.push(0);
        }
        // Throttle time and no tagged fields.
        self.answers.extend_from_slice(&[0; 5]);
        let length = u32::try_from(self.answers.len() - start - 4)?;
        self.answers[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn fetch(&mut self, correlation_id: i32, asked: &FetchAsked) -> Result<()> {
        let shared = self.partition(asked.topic, asked.index)?.clone();
        let (file, range, end) = {
            let partition = shared.lock().expect("no holder of this lock panics");
            (partition.file.clone(), partition.range(asked.offset, asked.bytes_max), partition.end)
        };
        let records = u32::try_from(range.end - range.start)?;
        let mut head = vec![0; 4];
        head.extend_from_slice(&correlation_id.to_be_bytes());
        // Throttle time, error, session; one topic.
        head.extend_from_slice(&[0; 10]);
        head.extend_from_slice(&1u32.to_be_bytes());
        head.extend_from_slice(&u16::try_from(asked.topic.len())?.to_be_bytes());
        head.extend_from_slice(asked.topic);
        head.extend_from_slice(&1u32.to_be_bytes());
        head.extend_from_slice(&asked.index.to_be_bytes());
        head.extend_from_slice(&0i16.to_be_bytes());
        head.extend_from_slice(&end.to_be_bytes());
        head.extend_from_slice(&end.to_be_bytes());
        head.extend_from_slice(&0i64.to_be_bytes());
        // No aborted transactions, no other replica to read from.
        head.extend_from_slice(&(-1i32).to_be_bytes());
        head.extend_from_slice(&(-1i32).to_be_bytes());
        head.extend_from_slice(&records.to_be_bytes());
        let length = u32::try_from(head.len() - 4)? + records;
        head[..4].copy_from_slice(&length.to_be_bytes());
        rustix::net::send(&self.stream, &head, rustix::net::SendFlags::MORE)?;
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at)?;
            let sent = rustix::fs::sendfile(&self.stream, &*file, Some(&mut at), left)?;
            ensure!(sent > 0, "the file ended below what was appended");
        }
        Ok(())
    }
}

fn append(partition: &Shared, batch: &mut [u8]) -> Result<i64> {
    parse::check_batch(batch)?;
    partition.lock().expect("no holder of this lock panics").append(batch)
}

fn claimed(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|&length| u32::from_be_bytes(length) as usize)
}

fn whole_frame(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(length) = claimed(bytes) else { return Ok(None) };
    ensure!(length <= wire::frame::FRAME_BYTES_MAX, "a frame of {length} bytes");
    Ok((bytes.len() >= 4 + length).then_some(length))
}
