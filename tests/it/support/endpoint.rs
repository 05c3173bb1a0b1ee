//! Endpoints of tests: a listener whose every connection is treated by a function of the test.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{loopback, prepare};

/// A listening endpoint; it lives as long as the test's process.
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicU64>,
}

impl Endpoint {
    /// Serves each connection on a thread of its own.
    pub(crate) fn serve(
        treat: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(loopback(0)).expect("a free port");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&accepted);
        let treat = Arc::new(treat);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                prepare(&stream);
                let treat = Arc::clone(&treat);
                // Tests look at what clients see; an endpoint whose client left is no failure.
                std::thread::spawn(move || treat(stream));
            }
        });
        Self { addr, accepted }
    }

    /// Sends back what comes, in order, to the end.
    pub(crate) fn echo() -> Self {
        Self::serve(|mut stream| {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let bytes = stream.read(&mut buffer)?;
                if bytes == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..bytes])?;
            }
        })
    }

    /// Says its name and ends.
    pub(crate) fn name(name: &'static str) -> Self {
        Self::serve(move |mut stream| stream.write_all(name.as_bytes()))
    }

    /// The connections that it has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// An address that refuses connections.
pub(crate) fn refusing() -> SocketAddr {
    let listener = TcpListener::bind(loopback(0)).expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// An endpoint that neither refuses nor answers: its backlog is full, so the kernel drops what
/// comes.
pub(crate) struct Mute {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    _listener: socket2::Socket,
    _waiting: TcpStream,
}

impl Mute {
    /// Listens, and fills the backlog.
    pub(crate) fn start() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        listener.bind(&loopback(0).into()).expect("a free port");
        listener.listen(0).expect("it listens");
        let addr = listener.local_addr().ok().and_then(|addr| addr.as_socket());
        let addr = addr.expect("a bound socket has an address");
        let waiting = TcpStream::connect(addr).expect("the one that fits the backlog");
        Self {
            addr,
            _listener: listener,
            _waiting: waiting,
        }
    }
}
