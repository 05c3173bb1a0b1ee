//! The system calls of the benches that the standard library does not have: the only file here with `unsafe`.

#![expect(unsafe_code, reason = "system calls")]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// An epoll instance whose events are all edge-triggered.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What to wait for on a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interest {
    /// Bytes or the end.
    Read,
    /// Space or a finished connect.
    Write,
    /// Both.
    Both,
}

impl Interest {
    fn mask(self) -> u32 {
        let mask = match self {
            Self::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Self::Write => libc::EPOLLOUT,
            Self::Both => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT,
        };
        (mask | libc::EPOLLET) as u32
    }
}

impl Epoll {
    /// Makes one.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer (epoll_create1(2)).
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
        })
    }

    /// Watches a socket; its events carry `token`. Closing the socket ends that.
    pub(crate) fn add(&self, socket: &impl AsRawFd, token: u64, on: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token, on)
    }

    /// Watches it for something else.
    pub(crate) fn modify(&self, socket: &impl AsRawFd, token: u64, on: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, token, on)
    }

    fn control(
        &self,
        operation: libc::c_int,
        socket: &impl AsRawFd,
        token: u64,
        on: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: on.mask(),
            u64: token,
        };
        let (epoll, fd) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the kernel reads the event during the call only (epoll_ctl(2)).
        check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(drop)
    }

    /// Waits for events, at most that long, and appends their tokens and whether the other side has ended.
    pub(crate) fn wait(&mut self, tokens: &mut Vec<Event>, most: Duration) -> io::Result<()> {
        let timeout = libc::timespec {
            tv_sec: most.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(most.subsec_nanos() as i32),
        };
        let (fd, room) = (self.fd.as_raw_fd(), self.events.len() as libc::c_int);
        let events = self.events.as_mut_ptr();
        // SAFETY: `events` has room for that many, and the timeout lives as long as the call (epoll_pwait2(2)).
        let count =
            unsafe { libc::epoll_pwait2(fd, events, room, &raw const timeout, ptr::null()) };
        let count = match check(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let ended = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        tokens.extend(self.events[..count].iter().map(|event| Event {
            token: event.u64,
            ended: event.events & ended != 0,
        }));
        Ok(())
    }
}

/// Something happened on a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Which socket.
    pub(crate) token: u64,
    /// The other side has sent its last byte, or is gone.
    pub(crate) ended: bool,
}

/// Accepts one connection, non-blocking from the start.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (address, bytes) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: no address is asked for (accept4(2)).
    let fd = check(unsafe { libc::accept4(listener.as_raw_fd(), address, bytes, flags) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// Lets bind(2) leave the choice of a port to connect(2), where it may be shared between destinations.
pub(crate) fn bind_address_only(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int at the given address (ip(7)).
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            bytes,
        )
    })
    .map(drop)
}

/// Makes a command run on one CPU and get `death_signal` when the thread that started it ends.
pub(crate) fn confine(command: &mut Command, cpu: usize, death_signal: libc::c_int) {
    let parent = process::id();
    let setup = move || {
        // SAFETY: takes no pointer (PR_SET_PDEATHSIG(2const)).
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, death_signal) })?;
        // SAFETY: takes nothing (getppid(2)).
        if unsafe { libc::getppid() } as u32 != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // SAFETY: all bits zero is an empty set (CPU_SET(3)).
        let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes within the set, or panics for a CPU beyond it.
        unsafe { libc::CPU_SET(cpu, &mut cpus) };
        // SAFETY: the kernel reads a set of the given size (sched_setaffinity(2)).
        check(unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) }).map(drop)
    };
    // SAFETY: between fork and exec, `setup` makes system calls only: no lock, no allocation.
    unsafe { command.pre_exec(setup) };
}

/// Sends a signal to a child that has not been waited for yet.
pub(crate) fn signal(child: u32, signal: libc::c_int) {
    // SAFETY: takes no pointer; the id is that of our own child, so it cannot have been reused (kill(2)).
    unsafe { libc::kill(child as libc::pid_t, signal) };
}

/// Raises the soft limit on descriptors to the hard one, for this process and its children.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit (getrlimit(2)).
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit (setrlimit(2)).
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// Lets the waits of this thread end on time instead of up to 50 us late.
pub(crate) fn set_timer_slack() {
    let slack_ns: libc::c_ulong = 1;
    // SAFETY: takes no pointer (PR_SET_TIMERSLACK(2const)); a refusal costs accuracy, nothing else.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

/// How many ticks of /proc/stat make a second.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointer (sysconf(3)).
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Gives this thread, and what it starts from now on, a network with nothing but loopback, and room there for the
/// connections that churn leaves in TIME_WAIT: in the table of them, and in ports, for a relay that has used up
/// half of these within a second searches long for the next one. Needs CAP_SYS_ADMIN.
pub(crate) fn enter_private_network() -> io::Result<()> {
    // SAFETY: takes no pointer, and only the network of this thread changes (unshare(2)).
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: all bits zero is a valid request: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the kernel reads one ifreq at the given address (netdevice(7)).
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    // These are of the network of the thread that writes, which is the new one.
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", TIME_WAIT_MOST)?;
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", SOURCE_PORTS)
}

/// Takes received bytes away without copying them. Returns how many there were.
pub(crate) fn discard(stream: BorrowedFd<'_>, bytes_max: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC nothing is written to the address, which may be none (tcp(7)).
    let count = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            std::ptr::null_mut(),
            bytes_max,
            libc::MSG_TRUNC,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Chooses the congestion control of this thread's network, which [`enter_private_network`] has made.
pub(crate) fn set_congestion(name: &str) -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_congestion_control", name)
}

/// An address on loopback that nobody listens on, below the ports that the kernel gives to connections.
pub(crate) fn free_address() -> io::Result<SocketAddrV4> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (process::id() % u32::from(PORTS)) as u16;
    for _ in 0..PORTS {
        let offset = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT_MIN + offset);
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

const EVENTS_MAX: usize = 256;
const TIME_WAIT_MOST: &str = "1000000";
const SOURCE_PORTS: &str = "2000 65535";
const PORT_MIN: u16 = 1_100;
const PORTS: u16 = 900;
