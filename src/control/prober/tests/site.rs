//! Endpoints that do as they are told.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use socket2::{Domain, Socket, Type};

use crate::balance::endpoint::Address;

/// A listener on a port of its own and a thread that treats one connection after the other.
pub(super) struct Site {
    pub(super) addr: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    pub(super) fn start(treat: impl FnMut(TcpStream) + Send + 'static) -> Self {
        Self::on("127.0.0.1:0", treat)
    }

    pub(super) fn on(addr: &str, mut treat: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(addr).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                treat(stream);
            }
        });
        Self {
            addr,
            over,
            thread: Some(thread),
        }
    }

    /// Answers every request with these bytes and closes.
    pub(super) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            read_head(&mut stream);
            let _reset_by_now = stream.write_all(&answer);
        })
    }

    /// Answers with these pieces, some time apart.
    pub(super) fn dripping(pieces: Vec<Vec<u8>>, pause: Duration) -> Self {
        Self::start(move |mut stream| {
            let _ = stream.set_nodelay(true);
            read_head(&mut stream);
            for piece in &pieces {
                if stream.write_all(piece).is_err() {
                    break;
                }
                let _time = never::<()>().recv_timeout(pause);
            }
        })
    }

    pub(super) fn address(&self) -> Address {
        Address::Tcp(self.addr)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let is_well = thread.join().is_ok();
            assert!(is_well || std::thread::panicking());
        }
    }
}

/// Reads until an empty line, or as far as it goes.
pub(super) fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend_from_slice(&byte);
    }
    head
}

/// Waits for the other side to end the connection, and tells how it did.
pub(super) fn await_end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

/// What comes next out of a channel that a site fills.
pub(super) fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(super::PATIENCE)
        .expect("the site has seen a probe")
}

/// An address that nobody listens on, and nobody will: it stays bound.
pub(super) fn nobody() -> Address {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    let addr = socket.local_addr().expect("it is bound").as_socket();
    std::mem::forget(socket);
    Address::Tcp(addr.expect("of TCP"))
}
