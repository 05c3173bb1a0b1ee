//! A session as the access log tells it: one record, one line.
//!
//! A worker fills in a [`Record`] when a session ends, or at intervals while it goes on, and moves
//! it to the log's thread, which turns it into a JSON object. Nothing is formatted before that.
//!
//! Memory: a record is 104 bytes and has no heap of its own; it shares what it names.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::balance::endpoint::Endpoint;
use crate::bounds::ACCESS_RECORDS_MAX;
use crate::error::{CloseReason, Phase};
use crate::id::SessionId;
use crate::time::Instant;
use crate::view::{ClusterView, ListenerView};

/// What is told of a session.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its identity.
    pub id: SessionId,
    /// Where it was accepted.
    pub listener: Arc<ListenerView>,
    /// The cluster that it went to.
    pub cluster: Arc<ClusterView>,
    /// Its client; `None` if the kernel did not say.
    pub client: Option<Client>,
    /// The last endpoint that was tried; `None` if there was none.
    pub endpoint: Option<Arc<Endpoint>>,
    /// How many endpoints were tried.
    pub tries: u8,
    /// Bytes that came from the client.
    pub client_bytes: u64,
    /// Bytes that came from the endpoint.
    pub endpoint_bytes: u64,
    /// From the session's start until an endpoint was connected.
    pub connect: Option<Micros>,
    /// From the session's start until the first byte of the endpoint.
    pub first_byte: Option<Micros>,
    /// When it was accepted.
    pub start: Instant,
    /// When it ended, or when it was looked at.
    pub end: Instant,
    /// Why it ended; `None` of a session that goes on.
    pub reason: Option<CloseReason>,
    /// How far it had come.
    pub phase: Phase,
}

/// Who a client is, in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// One on a TCP connection.
    Tcp {
        /// Its address.
        ip: IpAddr,
        /// Its port.
        port: u16,
    },
    /// One on a Unix socket.
    Unix,
}

impl From<SocketAddr> for Client {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp {
            ip: addr.ip(),
            port: addr.port(),
        }
    }
}

impl Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tcp { ip, port } => SocketAddr::new(ip, port).fmt(formatter),
            Self::Unix => formatter.write_str("unix"),
        }
    }
}

/// A time in whole microseconds, at least one and at most 71 minutes: longer ones count as that.
/// An `Option` of it takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(NonZeroU32);

impl Micros {
    /// The time from `start` to `end`.
    pub fn between(start: Instant, end: Instant) -> Self {
        let micros = end.saturating_since(start).as_micros();
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }

    fn duration(self) -> Duration {
        Duration::from_micros(self.0.get().into())
    }
}

impl Record {
    /// Appends the record to `out` as one JSON object and the end of the line. `start` is when the
    /// session was accepted, by the wall clock.
    ///
    /// Cost: no allocation if `out` has room.
    pub fn write_line(&self, start: SystemTime, out: &mut Vec<u8>) {
        let before = out.len();
        match self.write_object(start, out) {
            Ok(()) => out.push(b'\n'),
            // A vector takes everything, and every key is a string.
            Err(_) => out.truncate(before),
        }
    }

    fn write_object(&self, start: SystemTime, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let start = Timestamp::try_from(start).unwrap_or(Timestamp::UNIX_EPOCH);
        let endpoint = self.endpoint.as_deref();
        let address = endpoint.map(|endpoint| &endpoint.address);
        let event = match self.reason {
            Some(_) => "end",
            None => "interval",
        };
        let mut serializer = serde_json::Serializer::new(out);
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("event", event)?;
        line.serialize_entry("id", &format_args!("{}", self.id))?;
        line.serialize_entry("start", &format_args!("{start:.3}"))?;
        line.serialize_entry("listener", &self.listener.name)?;
        entry_of_text(&mut line, "client", self.client.as_ref())?;
        line.serialize_entry("cluster", &self.cluster.name)?;
        line.serialize_entry("endpoint", &endpoint.map(|endpoint| &endpoint.name))?;
        entry_of_text(&mut line, "address", address)?;
        line.serialize_entry("tries", &self.tries)?;
        line.serialize_entry("bytes_in", &self.client_bytes)?;
        line.serialize_entry("bytes_out", &self.endpoint_bytes)?;
        let millis_of = |time: Micros| millis(time.duration());
        line.serialize_entry("connect_ms", &self.connect.map(millis_of))?;
        line.serialize_entry("first_byte_ms", &self.first_byte.map(millis_of))?;
        line.serialize_entry("duration_ms", &millis(self.end - self.start))?;
        line.serialize_entry("reason", &self.reason.map(CloseReason::word))?;
        let code = self.reason.map(|reason| reason.code(self.phase));
        line.serialize_entry("code", &code)?;
        line.end()
    }
}

/// Writes a value as its text, or null.
fn entry_of_text<M: SerializeMap>(
    line: &mut M,
    key: &str,
    value: Option<&impl Display>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => line.serialize_entry(key, &format_args!("{value}")),
        None => line.serialize_entry(key, &None::<()>),
    }
}

/// Milliseconds with three digits behind the point at most.
fn millis(time: Duration) -> f64 {
    // Exact for 285 years, and the quotient is written with as few digits as tell it.
    time.as_micros() as f64 / 1000.0
}

const _: () = {
    assert!(size_of::<Option<Client>>() <= 24);
    assert!(size_of::<Option<Micros>>() == 4);
    assert!(
        size_of::<Record>() <= 104,
        "thousands of records wait in a queue"
    );
};

/// Hands records over to the access log.
#[derive(Clone, Debug)]
pub struct AccessSender {
    records: Sender<Record>,
    dropped: Arc<AtomicU64>,
}

impl AccessSender {
    /// Makes the channel, whose other end is for whoever writes the records.
    pub fn new() -> (Self, Receiver<Record>) {
        let (records, waiting) = bounded(ACCESS_RECORDS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        (Self { records, dropped }, waiting)
    }

    /// The count of records that are not in the log, for whoever writes them to add to.
    pub fn drops(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Whether no record waits to be written.
    pub fn is_idle(&self) -> bool {
        self.records.is_empty()
    }

    /// Hands a record over; never blocks. It is dropped and counted if too many wait.
    ///
    /// Cost: no allocation; no system call while the log is awake, which it is until a second
    /// after the last record.
    pub fn send(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The records so far that are not in the log: too many waited, or they could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Record {
    /// A session for tests.
    pub(crate) fn sample() -> Self {
        use crate::balance::endpoint::Address;
        use crate::balance::{Candidates, Policy};
        use crate::id::{ClusterId, EndpointId, ListenerId, WorkerIndex};
        use crate::session::Settings;

        let settings = Settings::default();
        let address = Address::Tcp(([10, 0, 0, 2], 80).into());
        Self {
            id: SessionId::new(WorkerIndex(1), 7),
            listener: Arc::new(ListenerView::new(ListenerId(1), "web".into(), 0, settings)),
            cluster: Arc::new(ClusterView::new(
                ClusterId(1),
                "pages".into(),
                Policy::default(),
                Candidates::new(Vec::new()),
            )),
            client: Some(SocketAddr::from(([10, 0, 0, 1], 5555)).into()),
            endpoint: Some(Arc::new(Endpoint::new(
                EndpointId(1),
                "a".into(),
                address,
                1,
            ))),
            tries: 2,
            client_bytes: 123,
            endpoint_bytes: 5_000_000_000,
            connect: Some(Micros::between(
                Instant::from_nanos(0),
                Instant::from_nanos(1_234_999),
            )),
            first_byte: Some(Micros::between(
                Instant::from_nanos(0),
                Instant::from_nanos(2_000_000),
            )),
            start: Instant::from_nanos(5_000_000),
            end: Instant::from_nanos(3_605_012_345_678),
            reason: Some(CloseReason::ClientReset),
            phase: Phase::Relaying,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::endpoint::Address;
    use crate::id::{EndpointId, ListenerId};
    use crate::session::Settings;

    /// 2024-02-29, a quarter of a second after noon.
    fn leap_day() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_208_000_250_900)
    }

    fn check(record: &Record, start: SystemTime, expected: &str) {
        let mut out = b"{}\n".to_vec();
        record.write_line(start, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, format!("{{}}\n{expected}\n"));
        let object: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(16));
    }

    #[test]
    fn a_session_that_ended_is_a_line() {
        check(
            &Record::sample(),
            leap_day(),
            concat!(
                r#"{"event":"end","id":"1000000000007","start":"2024-02-29T12:00:00.250Z","#,
                r#""listener":"web","client":"10.0.0.1:5555","cluster":"pages","endpoint":"a","#,
                r#""address":"10.0.0.2:80","tries":2,"bytes_in":123,"bytes_out":5000000000,"#,
                r#""connect_ms":1.234,"first_byte_ms":2.0,"duration_ms":3605007.345,"#,
                r#""reason":"client_reset","code":"CD"}"#,
            ),
        );
    }

    #[test]
    fn a_session_that_goes_on_has_no_reason() {
        let mut record = Record::sample();
        record.reason = None;
        record.first_byte = None;
        record.client = Some(Client::Unix);
        let endpoint = Endpoint::new(
            EndpointId(2),
            "b".into(),
            Address::Unix("/run/b.sock".into()),
            1,
        );
        record.endpoint = Some(Arc::new(endpoint));
        check(
            &record,
            leap_day(),
            concat!(
                r#"{"event":"interval","id":"1000000000007","start":"2024-02-29T12:00:00.250Z","#,
                r#""listener":"web","client":"unix","cluster":"pages","endpoint":"b","#,
                r#""address":"unix:/run/b.sock","tries":2,"bytes_in":123,"bytes_out":5000000000,"#,
                r#""connect_ms":1.234,"first_byte_ms":null,"duration_ms":3605007.345,"#,
                r#""reason":null,"code":null}"#,
            ),
        );
    }

    #[test]
    fn what_is_not_known_is_null_and_names_are_escaped() {
        let mut record = Record::sample();
        let name = "a \"b\"\\\n\u{1}\u{e9}".to_string();
        record.listener = Arc::new(ListenerView::new(
            ListenerId(1),
            name,
            0,
            Settings::default(),
        ));
        record.client = None;
        record.endpoint = None;
        record.tries = 0;
        record.connect = None;
        record.first_byte = None;
        record.end = record.start;
        record.reason = Some(CloseReason::NoEndpoint);
        record.phase = Phase::Connecting;
        check(
            &record,
            SystemTime::UNIX_EPOCH,
            concat!(
                r#"{"event":"end","id":"1000000000007","start":"1970-01-01T00:00:00.000Z","#,
                r#""listener":"a \"b\"\\\n\u0001é","client":null,"cluster":"pages","#,
                r#""endpoint":null,"address":null,"tries":0,"bytes_in":123,"#,
                r#""bytes_out":5000000000,"connect_ms":null,"first_byte_ms":null,"#,
                r#""duration_ms":0.0,"reason":"no_endpoint","code":"SC"}"#,
            ),
        );
    }

    #[test]
    fn short_and_long_times_fit() {
        let check = |nanos, expected| {
            let time = Micros::between(Instant::default(), Instant::from_nanos(nanos));
            assert_eq!(time.duration(), Duration::from_micros(expected));
        };
        check(0, 1);
        check(999, 1);
        check(1_000, 1);
        check(2_999, 2);
        check(1 << 62, u64::from(u32::MAX));
        let backwards = Micros::between(Instant::from_nanos(9_000), Instant::default());
        assert_eq!(backwards.duration(), Duration::from_micros(1));
    }

    #[test]
    fn clients_are_written_like_addresses() {
        let check = |client: Client, expected| assert_eq!(client.to_string(), expected);
        check(SocketAddr::from(([10, 0, 0, 1], 5)).into(), "10.0.0.1:5");
        let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5));
        check(v6.into(), "[::1]:5");
        check(Client::Unix, "unix");
    }
}
