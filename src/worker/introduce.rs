//! Who a client is: by its connection, by the PROXY protocol header that it sends, and in the one
//! that its endpoint gets.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::access::Client;
use crate::buffers::{Buffers, Chunk};
use crate::id::SessionId;
use crate::plan::proxy::{AcceptProxy, Network, ProxyVersion, SendProxy};
use crate::ring::driver::Driver;
use crate::session::Transport;
use crate::session::proxy_protocol::{
    Addresses, Command, Header, Outgoing, Parse, Tlvs, Version, encode, parse,
};
use crate::worker::Worker;

impl<D: Driver> Worker<D> {
    /// The client on an accepted connection, as the kernel tells it.
    pub(super) fn client_of(&self, socket: &D::Socket) -> Option<Client> {
        match self.driver.transport(socket) {
            Transport::Unix => Some(Client::Unix),
            Transport::Tcp => self.driver.client_addr(socket).map(Client::from),
        }
    }

    /// The client's header is complete: whom it speaks for is the client from now on.
    pub(super) fn note_header(&mut self, key: u32) {
        let session = &mut self.sessions[key as usize];
        let Some(chunk) = session.relay.header() else {
            return;
        };
        if let Parse::Complete { header, .. } = parse(self.driver.buffers().bytes(chunk))
            && let Some(client) = client_of_header(&header)
        {
            session.client_addr = Some(client);
        }
    }

    /// The header that the session's endpoint gets before anything else; `None` if it gets none.
    ///
    /// Errors: there is no buffer for it.
    pub(super) fn preface(&mut self, key: u32) -> Result<Option<Chunk>, NoBuffer> {
        let session = &self.sessions[key as usize];
        let cluster = self.view.cluster_of(session.listener as usize);
        let Some((_, cluster)) = cluster else {
            return Ok(None);
        };
        let Some(plan) = &cluster.send_proxy else {
            return Ok(None);
        };
        let local = self
            .connections
            .get_mut(session.client)
            .and_then(|connection| self.driver.local_addr(&connection.socket));
        let received = match session.relay.header() {
            Some(chunk) => parse(self.driver.buffers().bytes(chunk)),
            None => Parse::Incomplete,
        };
        let received = match &received {
            Parse::Complete { header, .. } => Some(header),
            Parse::Incomplete | Parse::Invalid(_) => None,
        };
        let unique_id = unique_id(self.process_id, session.id);
        let outgoing = outgoing(plan, &unique_id, received, session.client_addr, local);
        self.scratch.clear();
        encode(&outgoing, &mut self.scratch);
        let chunk = write_chunk(&self.scratch, self.driver.buffers());
        chunk.map(Some).ok_or(NoBuffer)
    }

    /// Whether anybody wants to know who a listener's clients are.
    pub(super) fn asks_for_clients(&self, listener: usize) -> bool {
        let cluster = self.view.cluster_of(listener);
        self.access.is_some() || cluster.is_some_and(|(_, cluster)| cluster.send_proxy.is_some())
    }
}

/// There is no buffer for output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoBuffer;

/// Whether a client may send a header.
pub(super) fn is_trusted(accept: &AcceptProxy, client: Client) -> bool {
    match client {
        Client::Tcp { ip, .. } => accept.from.iter().any(|network| network.contains(ip)),
        Client::Unix => accept.from.contains(&Network::Unix),
    }
}

fn client_of_header(header: &Header<'_>) -> Option<Client> {
    match (header.command, header.addresses) {
        (Command::Proxy, Addresses::Inet { source, .. }) => Some(Client::from(source)),
        (Command::Proxy, Addresses::Unix { .. }) => Some(Client::Unix),
        (Command::Proxy, Addresses::Unspecified) | (Command::Local, _) => None,
    }
}

/// What an endpoint is told. Whom a received header spoke for goes on as it came.
fn outgoing<'a>(
    plan: &'a SendProxy,
    unique_id: &'a [u8],
    received: Option<&Header<'a>>,
    client: Option<Client>,
    local: Option<SocketAddr>,
) -> Outgoing<'a> {
    let version = match plan.version {
        ProxyVersion::V1 => Version::V1,
        ProxyVersion::V2 => Version::V2,
    };
    let spoken_for = received
        .filter(|header| header.command == Command::Proxy)
        .map(|header| header.addresses)
        .filter(|addresses| *addresses != Addresses::Unspecified);
    let own = match (client, local) {
        (Some(Client::Tcp { ip, port }), Some(destination)) => Addresses::Inet {
            source: SocketAddr::new(ip, port),
            destination,
        },
        _ => Addresses::Unspecified,
    };
    let mut outgoing = Outgoing::new(version, Command::Proxy, spoken_for.unwrap_or(own));
    outgoing.authority = plan.authority.as_deref().map(str::as_bytes);
    outgoing.unique_id = plan.unique_id.then_some(unique_id);
    outgoing.custom = &plan.custom;
    outgoing.checksum = plan.checksum;
    outgoing.passed_on = match received {
        Some(header) if plan.pass_on => header.tlvs(),
        _ => Tlvs::default(),
    };
    outgoing
}

/// An identity for a session that no other process gives: the process's random one and its own.
fn unique_id(process: u64, session: SessionId) -> [u8; 32] {
    let mut id = [0; 32];
    let numbers = [process, session.as_u64()];
    for (place, digit) in id.iter_mut().enumerate() {
        let number = numbers[place / 16];
        let nibble = (number >> (60 - 4 * (place % 16))) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    id
}

fn write_chunk(bytes: &[u8], buffers: &mut impl Buffers) -> Option<Chunk> {
    let mut chunk = buffers.alloc()?;
    let mut front = match buffers.split(&mut chunk, bytes.len()) {
        Some(front) => {
            buffers.release(chunk);
            front
        }
        None => chunk,
    };
    match buffers.bytes_mut(&mut front) {
        Some(room) if room.len() == bytes.len() => room.copy_from_slice(bytes),
        _ => {
            buffers.release(front);
            return None;
        }
    }
    Some(front)
}
