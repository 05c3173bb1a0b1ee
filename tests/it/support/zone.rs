//! A name server of a test's own: UDP and TCP on one port of this host, answers that the test
//! changes while it runs, and a list of what was asked when.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ringlane::plan::dns::DnsPlan;

use super::{PATIENCE, loopback, wait_until};

/// A running name server.
pub(crate) struct Zone {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    desk: Arc<Desk>,
    /// The thread for datagrams, while there is one.
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// A question, when it came, and when what was said to it had been sent.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// What was asked for.
    pub(crate) name: String,
    /// What of it.
    pub(crate) kind: RecordType,
    /// When it came.
    pub(crate) came: Instant,
    /// When the answer had left.
    pub(crate) answered: Instant,
}

/// A question as a script sees it.
pub(crate) struct Asked {
    message: Message,
    /// Whether it came over TCP.
    pub(crate) is_stream: bool,
}

/// What is sent for a question, message by message; nothing is silence.
type Script = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

struct Desk {
    script: Mutex<Arc<Script>>,
    noted: Mutex<Vec<Noted>>,
    is_deaf: AtomicBool,
}

impl Zone {
    /// Starts one that has these records.
    pub(crate) fn of(records: &[Record]) -> Self {
        let (udp, tcp) = bind();
        let addr = tcp.local_addr().expect("a bound socket has an address");
        let desk = Arc::new(Desk {
            script: Mutex::new(Arc::new(|_: &Asked| Vec::new())),
            noted: Mutex::new(Vec::new()),
            is_deaf: AtomicBool::new(false),
        });
        let (for_datagrams, for_streams) = (Arc::clone(&desk), Arc::clone(&desk));
        let listening = std::thread::spawn(move || for_datagrams.serve_udp(&udp));
        std::thread::spawn(move || for_streams.serve_tcp(&tcp));
        let zone = Self {
            addr,
            desk,
            listening: Mutex::new(Some(listening)),
        };
        zone.has(records);
        zone
    }

    /// From now on it has these records and no others.
    pub(crate) fn has(&self, records: &[Record]) {
        let records = records.to_vec();
        self.answers(move |asked| asked.with(&records));
    }

    /// From now on it answers each question with one message.
    pub(crate) fn answers(&self, answer: impl Fn(&Asked) -> Message + Send + Sync + 'static) {
        self.says(move |asked| vec![bytes(&answer(asked))]);
    }

    /// From now on it sends this.
    pub(crate) fn says(&self, script: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) {
        *held(&self.desk.script) = Arc::new(script);
    }

    /// Goes away: the kernel refuses datagrams.
    pub(crate) fn die(&self) {
        self.desk.is_deaf.store(true, Ordering::SeqCst);
        let wakes = UdpSocket::bind(loopback(0)).expect("a free port");
        wakes.send_to(&[], self.addr).expect("it is there");
        let thread = held(&self.listening).take().expect("it is alive");
        thread.join().expect("no script fails");
    }

    /// Comes back where it was.
    pub(crate) fn revive(&self) {
        self.desk.is_deaf.store(false, Ordering::SeqCst);
        let mut socket = None;
        // Somebody may have the port for a moment.
        wait_until("the port is free again", || {
            socket = UdpSocket::bind(self.addr).ok();
            socket.is_some()
        });
        let socket = socket.expect("it has been waited for");
        let desk = Arc::clone(&self.desk);
        let thread = std::thread::spawn(move || desk.serve_udp(&socket));
        *held(&self.listening) = Some(thread);
    }

    /// What it was asked, in order.
    pub(crate) fn noted(&self) -> Vec<Noted> {
        held(&self.desk.noted).clone()
    }

    /// A plan's resolver that asks it, knows no files, and looks again as soon as is possible.
    pub(crate) fn resolver(&self) -> DnsPlan {
        DnsPlan {
            servers: vec![self.addr],
            resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
            hosts: PathBuf::from("/nonexistent/hosts"),
            timeout: Some(PATIENCE),
            attempts: Some(1),
            min_ttl: Duration::from_millis(10),
            max_ttl: Duration::from_secs(3600),
        }
    }
}

impl Desk {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.is_deaf.load(Ordering::SeqCst) {
                return;
            }
            self.answer(&buffer[..length], false, |reply| {
                let _client_is_gone = socket.send_to(reply, client);
            });
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while let Ok((mut stream, _)) = listener.accept() {
            super::prepare(&stream);
            let Ok(request) = read_framed(&mut stream) else {
                continue;
            };
            self.answer(&request, true, |reply| {
                let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
                let framed = [&length.to_be_bytes(), reply].concat();
                let _client_is_gone = stream.write_all(&framed);
            });
        }
    }

    fn answer(&self, request: &[u8], is_stream: bool, mut send: impl FnMut(&[u8])) {
        let came = Instant::now();
        let Ok(message) = Message::from_vec(request) else {
            return;
        };
        let asked = Asked { message, is_stream };
        let script = Arc::clone(&held(&self.script));
        for reply in script(&asked) {
            send(&reply);
        }
        held(&self.noted).push(Noted {
            name: asked.name(),
            kind: asked.kind(),
            came,
            answered: Instant::now(),
        });
    }
}

impl Asked {
    /// The name, with a dot at its end.
    pub(crate) fn name(&self) -> String {
        self.message.queries[0].name().to_ascii()
    }

    /// What of it is wanted.
    pub(crate) fn kind(&self) -> RecordType {
        self.message.queries[0].query_type()
    }

    /// The answer to it without records.
    pub(crate) fn nothing(&self) -> Message {
        let mut message = Message::response(self.message.metadata.id, OpCode::Query);
        message.add_queries(self.message.queries.iter().cloned());
        message
    }

    /// The answer that this went wrong.
    pub(crate) fn code(&self, code: ResponseCode) -> Message {
        let mut message = self.nothing();
        message.metadata.response_code = code;
        message
    }

    /// The answer with those of the records that are of the name and the wanted type. A name that
    /// has no records does not exist.
    pub(crate) fn with(&self, records: &[Record]) -> Message {
        let name = &self.message.queries[0].name();
        let own: Vec<&Record> = records.iter().filter(|r| r.name == **name).collect();
        if own.is_empty() {
            return self.code(ResponseCode::NXDomain);
        }
        let mut message = self.nothing();
        let wanted = [self.kind(), RecordType::CNAME];
        let fit = |record: &&&Record| wanted.contains(&record.record_type());
        message.add_answers(own.iter().filter(fit).map(|record| (*record).clone()));
        message
    }
}

/// A message as it travels.
pub(crate) fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a message")
}

/// An address record, of the family of the address.
pub(crate) fn at(owner: &str, addr: &str, ttl: u32) -> Record {
    let rdata = match addr.parse::<Ipv4Addr>() {
        Ok(addr) => RData::A(A(addr)),
        Err(_) => RData::AAAA(AAAA(addr.parse::<Ipv6Addr>().expect("an address"))),
    };
    Record::from_rdata(name(owner), ttl, rdata)
}

/// An alias.
pub(crate) fn alias(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

/// A record of a service: priority, weight and port, then its host.
pub(crate) fn service(owner: &str, numbers: [u16; 3], target: &str, ttl: u32) -> Record {
    let [priority, weight, port] = numbers;
    let srv = SRV::new(priority, weight, port, name(target));
    Record::from_rdata(name(owner), ttl, RData::SRV(srv))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody has panicked with it")
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut request)?;
    Ok(request)
}

/// Both on one port.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind(loopback(0)).expect("a free port");
        let addr = tcp.local_addr().expect("a bound socket has an address");
        if let Ok(udp) = UdpSocket::bind(addr) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}
