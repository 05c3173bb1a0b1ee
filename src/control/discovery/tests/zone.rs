//! A name server for tests: it answers as its script says, over UDP and TCP on one port of this
//! host, and notes what it was asked.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Udp,
    Tcp,
}

/// A question as a script sees it.
pub(super) struct Asked {
    pub(super) message: Message,
    pub(super) via: Via,
    /// How many questions came before.
    pub(super) earlier: usize,
}

/// What is sent for a question.
pub(super) enum Reply {
    /// From the address that was asked.
    Own(Vec<u8>),
    /// From another port.
    Foreign(Vec<u8>),
}

pub(super) struct Zone {
    pub(super) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

type Script = dyn Fn(&Asked) -> Vec<Reply> + Send + Sync;

struct Desk {
    script: Box<Script>,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Zone {
    /// Starts a server that answers each question with one message.
    pub(super) fn answering(answer: impl Fn(&Asked) -> Message + Send + Sync + 'static) -> Self {
        Self::scripted(move |asked| vec![Reply::own(&answer(asked))])
    }

    /// Starts a server.
    pub(super) fn scripted(script: impl Fn(&Asked) -> Vec<Reply> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind();
        let addr = udp.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let desk = Arc::new(Desk {
            script: Box::new(script),
            asked: Arc::clone(&asked),
            stop: Arc::clone(&stop),
        });
        let other = Arc::clone(&desk);
        let threads = vec![
            std::thread::spawn(move || desk.serve_udp(&udp)),
            std::thread::spawn(move || other.serve_tcp(&tcp)),
        ];
        Self {
            addr,
            asked,
            stop,
            threads,
        }
    }

    /// What it was asked, in order: name, type, and how.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the list").clone()
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.addr);
        }
        drop(TcpStream::connect(self.addr));
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a script failed");
        }
    }
}

impl Desk {
    fn serve_udp(&self, socket: &UdpSocket) {
        let foreign = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            for reply in self.replies(&buffer[..length], Via::Udp) {
                let (socket, bytes) = match reply {
                    Reply::Own(bytes) => (socket, bytes),
                    Reply::Foreign(bytes) => (&foreign, bytes),
                };
                // A client that has what it wants is gone.
                let _ = socket.send_to(&bytes, client);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while let Ok((mut stream, _)) = listener.accept() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let limit = Some(Duration::from_secs(10));
            stream.set_read_timeout(limit).expect("a timeout");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("a length");
            let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut request).expect("a question");
            for reply in self.replies(&request, Via::Tcp) {
                let (Reply::Own(bytes) | Reply::Foreign(bytes)) = reply;
                let length = u16::try_from(bytes.len()).expect("a length");
                stream.write_all(&length.to_be_bytes()).expect("sent");
                stream.write_all(&bytes).expect("sent");
            }
        }
    }

    fn replies(&self, request: &[u8], via: Via) -> Vec<Reply> {
        let message = Message::from_vec(request).expect("a question");
        let mut list = self.asked.lock().expect("the list");
        let asked = Asked {
            message,
            via,
            earlier: list.len(),
        };
        let edns = if asked.has_edns() { "" } else { " plain" };
        list.push(format!("{} {} {via:?}{edns}", asked.name(), asked.kind()));
        drop(list);
        (self.script)(&asked)
    }
}

impl Asked {
    pub(super) fn name(&self) -> String {
        self.message.queries[0].name().to_ascii()
    }

    pub(super) fn kind(&self) -> RecordType {
        self.message.queries[0].query_type()
    }

    pub(super) fn has_edns(&self) -> bool {
        self.message.edns.is_some()
    }

    /// The answer to it without records.
    pub(super) fn nothing(&self) -> Message {
        let mut message = Message::response(self.message.metadata.id, OpCode::Query);
        message.add_queries(self.message.queries.iter().cloned());
        message
    }

    pub(super) fn code(&self, code: ResponseCode) -> Message {
        let mut message = self.nothing();
        message.metadata.response_code = code;
        message
    }

    /// The answer with those of the records that are of the wanted type, and all aliases.
    pub(super) fn with(&self, records: &[Record]) -> Message {
        let mut message = self.nothing();
        let wanted = [self.kind(), RecordType::CNAME];
        let fit = |record: &&Record| wanted.contains(&record.record_type());
        message.add_answers(records.iter().filter(fit).cloned());
        message
    }
}

impl Reply {
    pub(super) fn own(message: &Message) -> Self {
        Self::Own(message.to_vec().expect("a message"))
    }
}

/// Both on one port.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = tcp.local_addr().expect("an address");
        if let Ok(udp) = UdpSocket::bind(addr) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// An address record of the family of the address.
pub(super) fn at(owner: &str, addr: &str, ttl: u32) -> Record {
    let rdata = match addr.parse::<Ipv4Addr>() {
        Ok(addr) => RData::A(A(addr)),
        Err(_) => RData::AAAA(AAAA(addr.parse::<Ipv6Addr>().expect("an address"))),
    };
    Record::from_rdata(name(owner), ttl, rdata)
}

pub(super) fn alias(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

/// A record of a service: priority, weight and port, then its host.
pub(super) fn service(owner: &str, numbers: [u16; 3], target: &str, ttl: u32) -> Record {
    let [priority, weight, port] = numbers;
    let srv = SRV::new(priority, weight, port, name(target));
    Record::from_rdata(name(owner), ttl, RData::SRV(srv))
}
