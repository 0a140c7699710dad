//! Datagrams: clients with a read timeout, servers with vices, and ports on which nobody answers.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::client::is_timeout;
use super::files;
use super::process::raise_open_files;
use super::wait::{PATIENCE, until};

/// The largest payload of a datagram over IPv4.
pub(crate) const LARGEST: usize = 65_507;

/// How long a client waits before it sends again.
const AGAIN: Duration = Duration::from_millis(200);

/// A port that a test owns; with nobody on it, datagrams are answered with port-unreachable.
///
/// The reservation is a socket that is connected to an address nobody sends from, so that the
/// kernel finds no receiver for a datagram of anyone else. Servers come and go beside it.
pub(crate) struct Seat {
    address: SocketAddr,
    _reservation: Socket,
}

impl Seat {
    /// On 127.0.0.1.
    pub(crate) fn take() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// On a given local address.
    pub(crate) fn on(ip: IpAddr) -> Self {
        let wanted = SocketAddr::new(ip, 0);
        let reservation = Socket::new(Domain::for_address(wanted), Type::DGRAM, None).unwrap();
        // Shared only afterwards: otherwise the kernel might choose a port that is taken.
        reservation.bind(&wanted.into()).unwrap();
        reservation.set_reuse_address(true).unwrap();
        let address = reservation.local_addr().unwrap().as_socket().unwrap();
        reservation.connect(&nobody(ip).into()).unwrap();
        Self { address, _reservation: reservation }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Takes datagrams until the socket is dropped.
    pub(crate) fn open(&self) -> UdpSocket {
        let socket = Socket::new(Domain::for_address(self.address), Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&self.address.into()).unwrap();
        roomy(socket.into())
    }
}

/// Where no datagram of a test comes from.
fn nobody(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 9)
}

/// A socket with buffers as large as the kernel allows, so that only the balancer can lose.
fn roomy(socket: UdpSocket) -> UdpSocket {
    let sizes = SockRef::from(&socket);
    sizes.set_recv_buffer_size(4 << 20).unwrap();
    sizes.set_send_buffer_size(1 << 20).unwrap();
    socket
}

/// A client's socket on a given address, not connected.
#[track_caller]
pub(crate) fn socket_on(ip: IpAddr) -> UdpSocket {
    let socket = roomy(UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A client of one address: a flow of its own.
pub(crate) struct Client(pub(crate) UdpSocket);

impl Client {
    /// From the loopback address of the same family.
    #[track_caller]
    pub(crate) fn to(at: SocketAddr) -> Self {
        let ip = if at.is_ipv6() { "::1" } else { "127.0.0.1" };
        Self::from(ip.parse().unwrap(), at)
    }

    /// From a given local address.
    #[track_caller]
    pub(crate) fn from(ip: IpAddr, at: SocketAddr) -> Self {
        let socket = socket_on(ip);
        socket.connect(at).unwrap();
        Self(socket)
    }

    /// Where it sends from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Sends one datagram.
    #[track_caller]
    pub(crate) fn send(&self, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        assert_eq!(self.0.send(payload).unwrap(), payload.len());
    }

    /// The next datagram; fails the test when there is none.
    #[track_caller]
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let taken = loop {
            match self.0.recv(&mut buffer) {
                // What stops and continues the test ends a wait with a time limit.
                Err(error) if is_interrupted(&error) => {}
                taken => break taken,
            }
        };
        buffer.truncate(taken.unwrap_or_else(|error| panic!("no datagram: {error}")));
        buffer
    }

    /// Sends once and gives the answer, as text.
    #[track_caller]
    pub(crate) fn ask(&self, payload: &str) -> String {
        self.send(payload);
        String::from_utf8(self.receive()).unwrap()
    }

    /// The next datagram, if one comes before a client would send again.
    pub(crate) fn soon(&self) -> Option<String> {
        self.0.set_read_timeout(Some(AGAIN)).unwrap();
        let mut buffer = [0; 2048];
        let taken = self.0.recv(&mut buffer);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        match taken {
            Ok(len) => Some(String::from_utf8_lossy(&buffer[..len]).into_owned()),
            Err(error) if is_timeout(&error) || is_interrupted(&error) => None,
            Err(error) => panic!("the client's socket failed: {error}"),
        }
    }

    /// As a real client: sends again and again until an answer comes that is `wanted`.
    #[track_caller]
    pub(crate) fn insist(&self, payload: &str, wanted: impl Fn(&str) -> bool) -> String {
        until(&format!("an answer to {payload:?}"), PATIENCE, || {
            self.send(payload);
            self.soon().filter(|answer| wanted(answer))
        })
    }

    /// Whether nothing lies in the receive buffer.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0; 1]);
        self.0.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| is_timeout(&error))
    }
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

type Handler = dyn Fn(&UdpSocket, &[u8], SocketAddr) + Send + Sync;

/// A server that can be stopped and started again on its port.
pub(crate) struct Server {
    /// The name tests give its backend.
    pub(crate) name: String,
    seat: Seat,
    handler: Arc<Handler>,
    seen: Arc<Seen>,
    running: Mutex<Option<Running>>,
}

#[derive(Default)]
struct Seen {
    datagrams: AtomicUsize,
    peers: Mutex<HashSet<SocketAddr>>,
}

struct Running {
    stop: Arc<AtomicBool>,
    socket: UdpSocket,
    thread: thread::JoinHandle<()>,
}

impl Server {
    /// A server on 127.0.0.1 with its own idea of what to do with a datagram.
    pub(crate) fn new(
        name: &str,
        handler: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + Sync + 'static,
    ) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), name, handler)
    }

    /// As [`new`](Self::new), on another address.
    pub(crate) fn on(
        ip: IpAddr,
        name: &str,
        handler: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + Sync + 'static,
    ) -> Self {
        raise_open_files();
        let server = Self {
            name: name.into(),
            seat: Seat::on(ip),
            handler: Arc::new(handler),
            seen: Arc::default(),
            running: Mutex::default(),
        };
        server.start();
        server
    }

    /// Gives back what comes.
    pub(crate) fn echo(name: &str) -> Self {
        Self::new(name, answer)
    }

    /// As [`echo`](Self::echo), on another address.
    pub(crate) fn echo_on(ip: IpAddr, name: &str) -> Self {
        Self::on(ip, name, answer)
    }

    /// Answers with its name, a colon and what came.
    pub(crate) fn named(name: &str) -> Self {
        let prefix = format!("{name}:");
        Self::new(name, move |socket, payload, peer| {
            answer(socket, &[prefix.as_bytes(), payload].concat(), peer);
        })
    }

    /// Answers each datagram so many times, with a number before what came.
    pub(crate) fn repeating(name: &str, times: usize) -> Self {
        Self::new(name, move |socket, payload, peer| {
            for turn in 0..times {
                answer(socket, &[format!("{turn}:").as_bytes(), payload].concat(), peer);
            }
        })
    }

    /// Takes everything and says nothing.
    pub(crate) fn mute(name: &str) -> Self {
        Self::new(name, |_, _, _| {})
    }

    /// Gives back what comes, but nothing that starts with `mute`.
    pub(crate) fn choosy(name: &str) -> Self {
        Self::new(name, |socket, payload, peer| {
            if !payload.starts_with(b"mute") {
                answer(socket, payload, peer);
            }
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.seat.address()
    }

    /// Datagrams taken so far.
    pub(crate) fn datagrams(&self) -> usize {
        self.seen.datagrams.load(Ordering::SeqCst)
    }

    /// Addresses that sent something so far, in no order: as many as there were flows.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        self.seen.peers.lock().unwrap().iter().copied().collect()
    }

    /// Sends by itself, from its address.
    #[track_caller]
    pub(crate) fn say(&self, payload: &str, to: SocketAddr) {
        let running = self.running.lock().unwrap();
        running.as_ref().unwrap().socket.send_to(payload.as_bytes(), to).unwrap();
    }

    /// An entry for `backends`, with further keys such as `weight = 2`.
    pub(crate) fn entry(&self, keys: &str) -> String {
        files::entry(self.address(), &self.name, keys)
    }

    /// Takes datagrams (again).
    pub(crate) fn start(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "{} is already running", self.name);
        let socket = self.seat.open();
        let (stop, taking) = (Arc::new(AtomicBool::new(false)), socket.try_clone().unwrap());
        let (stopped, handler, seen) = (stop.clone(), self.handler.clone(), self.seen.clone());
        let thread = thread::spawn(move || serve(&taking, &stopped, &*handler, &seen));
        *running = Some(Running { stop, socket, thread });
    }

    /// Closes the socket: from now on there is nobody, and the kernel says so.
    pub(crate) fn stop(&self) {
        let Some(running) = self.running.lock().unwrap().take() else { return };
        running.stop.store(true, Ordering::SeqCst);
        running.socket.send_to(&[], self.address()).unwrap();
        running.thread.join().unwrap();
        // A process that another test is just starting may hold a copy of the socket for a moment,
        // which must not swallow what is sent here.
        running.socket.connect(nobody(self.address().ip())).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A list for `backends` of servers without further keys.
pub(crate) fn entries(servers: &[Server]) -> String {
    let list: Vec<_> = servers.iter().map(|s| s.entry("")).collect();
    format!("[{}]", list.join(", "))
}

fn serve(socket: &UdpSocket, stop: &AtomicBool, handler: &Handler, seen: &Seen) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, peer) = match socket.recv_from(&mut buffer) {
            Ok(taken) => taken,
            // A client that is gone; nothing that concerns the others.
            Err(_) if !stop.load(Ordering::SeqCst) => continue,
            Err(_) => return,
        };
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // Noted first: who has an answer finds it counted.
        seen.peers.lock().unwrap().insert(peer);
        seen.datagrams.fetch_add(1, Ordering::SeqCst);
        handler(socket, &buffer[..len], peer);
    }
}

/// Sends; a peer that has gone is no matter of the server's.
pub(crate) fn answer(socket: &UdpSocket, payload: &[u8], peer: SocketAddr) {
    drop(socket.send_to(payload, peer));
}

#[test]
fn a_seat_answers_unreachable_until_somebody_sits_on_it() {
    let server = Server::named("s");
    let client = Client::to(server.address());
    assert_eq!(client.ask("a"), "s:a");
    server.stop();
    client.send("b");
    let refused = client.0.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    server.start();
    assert_eq!(client.ask("c"), "s:c");
    assert_eq!((server.peers().len(), server.datagrams() >= 2), (1, true));
}

#[test]
fn the_largest_datagrams_pass_between_client_and_server_alone() {
    for ip in ["127.0.0.1", "::1"] {
        let server = Server::echo_on(ip.parse().unwrap(), "s");
        let client = Client::to(server.address());
        for size in [0, LARGEST] {
            client.send(vec![7; size]);
            assert_eq!(client.receive().len(), size, "{ip}");
        }
    }
}
