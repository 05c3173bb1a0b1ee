//! Endpoints that can be switched off and on, and several of which may have one port.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::{Domain, Socket, Type};

use super::prepare;

/// An endpoint that says its letter and sends back what comes. Off, it refuses connections.
pub(crate) struct Switch {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    letter: u8,
    /// Never listens: it keeps the port for as long as nobody does.
    _holder: Socket,
    listening: Mutex<Option<(Arc<Socket>, JoinHandle<()>)>>,
}

impl Switch {
    /// One on a free port, switched on.
    pub(crate) fn on(letter: u8) -> Self {
        Self::at([127, 0, 0, 1], 0, letter).expect("a free port")
    }

    /// Some on 127.0.0.1, 127.0.0.2 and so on, of one port, switched on.
    pub(crate) fn neighbours<const COUNT: usize>(letters: [u8; COUNT]) -> [Self; COUNT] {
        for _ in 0..100 {
            let mut port = 0;
            let mut all = Vec::new();
            for (host, letter) in (1..).zip(letters) {
                let Ok(switch) = Self::at([127, 0, 0, host], port, letter) else {
                    break;
                };
                port = switch.addr.port();
                all.push(switch);
            }
            if let Ok(all) = all.try_into() {
                return all;
            }
        }
        panic!("no port is free for all");
    }

    fn at(host: [u8; 4], port: u16, letter: u8) -> io::Result<Self> {
        let holder = socket(SocketAddr::from((host, port)))?;
        let addr = holder.local_addr()?.as_socket().expect("an address");
        let switch = Self {
            addr,
            letter,
            _holder: holder,
            listening: Mutex::new(None),
        };
        switch.turn_on();
        Ok(switch)
    }

    /// Accepts connections.
    pub(crate) fn turn_on(&self) {
        let listener = Arc::new(socket(self.addr).expect("the port is ours"));
        listener.listen(1024).expect("it listens");
        let (own, letter) = (Arc::clone(&listener), self.letter);
        let thread = std::thread::spawn(move || {
            // Ends when the listener is shut down.
            while let Ok((stream, _)) = own.accept() {
                let stream = TcpStream::from(stream);
                prepare(&stream);
                std::thread::spawn(move || treat(stream, letter));
            }
        });
        *self.held() = Some((listener, thread));
    }

    /// Refuses connections. Those that stand go on.
    pub(crate) fn turn_off(&self) {
        let (listener, thread) = self.held().take().expect("it is on");
        listener.shutdown(Shutdown::Both).expect("it listens");
        thread.join().expect("it ends");
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<(Arc<Socket>, JoinHandle<()>)>> {
        self.listening.lock().expect("nobody has panicked with it")
    }
}

fn treat(mut stream: TcpStream, letter: u8) -> io::Result<()> {
    stream.write_all(&[letter])?;
    let mut buffer = vec![0; 4096];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..bytes])?;
    }
}

/// A socket there, beside which there may be others of this process.
fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
