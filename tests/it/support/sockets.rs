//! The sockets of a balancer in this process, seen as the kernel has them.
#![expect(
    unsafe_code,
    reason = "fcntl(2) F_DUPFD_CLOEXEC on a descriptor that another thread owns; getsockopt(2)"
)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use socket2::Socket;

/// A second handle of this process's socket with these ports, if there is one. Port 0 of the other
/// side is that of a listening socket.
pub(crate) fn find(own_port: u16, other_port: u16) -> Option<Socket> {
    let inodes = inodes(own_port, other_port);
    let descriptors = fs::read_dir("/proc/self/fd").expect("/proc is there");
    for entry in descriptors.flatten() {
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let link = link.display().to_string();
        if !inodes
            .iter()
            .any(|inode| link == format!("socket:[{inode}]"))
        {
            continue;
        }
        let number = entry.file_name().to_string_lossy().parse();
        let Some(fd) = number.ok().and_then(duplicate) else {
            continue;
        };
        let socket = Socket::from(fd);
        // The number may be another socket's by now.
        let port = |addr: std::io::Result<socket2::SockAddr>| {
            let addr = addr.ok().and_then(|addr| addr.as_socket());
            addr.map_or(0, |addr| addr.port())
        };
        if (port(socket.local_addr()), port(socket.peer_addr())) == (own_port, other_port) {
            return Some(socket);
        }
    }
    None
}

/// The socket of this process that is connected to `other`, accepted ones left out.
pub(crate) fn connected_to(other: SocketAddr) -> Option<Socket> {
    let own = table()
        .into_iter()
        .filter(|row| row.other_port == other.port())
        .map(|row| row.own_port);
    own.into_iter().find_map(|port| find(port, other.port()))
}

/// An integer option of a socket.
pub(crate) fn option(socket: &Socket, level: i32, name: i32) -> i32 {
    let [value] = words::<1>(socket, level, name);
    value
}

/// How many clients may wait at a listening socket.
///
/// Source: linux/tcp.h, `tcpi_sacked`, which is that for a listening socket.
pub(crate) fn backlog(socket: &Socket) -> i32 {
    words::<8>(socket, libc::IPPROTO_TCP, libc::TCP_INFO)[7]
}

fn words<const COUNT: usize>(socket: &Socket, level: i32, name: i32) -> [i32; COUNT] {
    let mut words = [0; COUNT];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most as much as it is told to a place that has as much.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    words
}

struct Row {
    own_port: u16,
    other_port: u16,
    inode: String,
}

fn inodes(own_port: u16, other_port: u16) -> Vec<String> {
    let rows = table().into_iter();
    rows.filter(|row| (row.own_port, row.other_port) == (own_port, other_port))
        .map(|row| row.inode)
        .collect()
}

/// The TCP sockets of this network namespace.
///
/// Source: proc_pid_net(5).
fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = |word: usize| {
                let digits = words.get(word)?.rsplit(':').next()?;
                u16::from_str_radix(digits, 16).ok()
            };
            // One without an inode belongs to nobody any more.
            if let (Some(own_port), Some(other_port), Some(inode)) =
                (port(1), port(2), words.get(9))
                && *inode != "0"
            {
                rows.push(Row {
                    own_port,
                    other_port,
                    inode: inode.to_string(),
                });
            }
        }
    }
    rows
}

fn duplicate(number: i32) -> Option<OwnedFd> {
    // SAFETY: takes numbers; one that is no descriptor is refused.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(copy) })
}
