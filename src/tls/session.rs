//! One TLS connection without its socket: ciphertext in, plaintext out, and the reverse.
//!
//! The library's unbuffered interface is used, so that a session which moves nothing holds no
//! buffer: the bytes lie in the worker's.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, HandshakeKind, ServerConfig};

use crate::config::TlsVersion;

/// Room that a record takes beyond what is in it: header, explicit nonce, tag, type. None of the
/// algorithms needs as much.
const OVERHEAD: usize = 64;

/// The longest content of a record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// Room for records that carry no data and must go out with others: key updates, an alert.
const CONTROL: usize = 4 * OVERHEAD;

/// A TLS connection, its handshake included.
pub struct Session {
    side: Side,
    /// The peer has said that it sends no more.
    ended: bool,
    /// It must not be used any more.
    broken: Option<Error>,
    /// Ciphertext that has come and is not a whole record yet.
    pub held: Vec<u8>,
    /// Ciphertext that must be sent before anything else.
    pub due: Vec<u8>,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Session {
    /// For a client that has connected to us.
    ///
    /// # Errors
    /// The library refuses the configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Side::Server(Box::new(UnbufferedServerConnection::new(config)?))))
    }

    /// Towards a backend that must prove `name`.
    ///
    /// # Errors
    /// The library refuses the configuration.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self::new(Side::Client(Box::new(UnbufferedClientConnection::new(config, name)?))))
    }

    fn new(side: Side) -> Self {
        Self { side, ended: false, broken: None, held: Vec::new(), due: Vec::new() }
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    /// True until both sides may send.
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// True once the peer has said that it sends no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The version agreed on.
    pub fn version(&self) -> Option<TlsVersion> {
        match self.state().protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
            rustls::ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
            _ => None,
        }
    }

    /// The application protocol agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    /// True if it goes on with the secrets of an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes ciphertext, decrypting it in place, and appends what it holds to `plain`; what it asks
    /// to be sent goes to [`Session::due`]. Returns how much was taken: the rest is part of a message
    /// that is still to come, perhaps decrypted already, and must lie before what comes next.
    ///
    /// # Errors
    /// The peer broke the protocol, or is not who it should be; `due` then holds the alert, and
    /// `plain` what came before.
    pub fn open(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        if self.ended {
            // What comes behind the end means nothing (RFC 8446, 6.1).
            return Ok(incoming.len());
        }
        let taken = self.run(incoming, plain, Act::Nothing)?;
        Ok(if self.ended { incoming.len() } else { taken })
    }

    /// The room that [`Session::seal`] needs for so much.
    pub const fn room_for(plain: usize) -> usize {
        plain + plain.div_ceil(RECORD) * OVERHEAD + CONTROL
    }

    /// Encrypts all of `plain` into `room`, which must be as large as [`Session::room_for`] says.
    /// Returns how much of it is to be sent, behind what stands in [`Session::due`]. What
    /// [`Session::open`] has left must be in [`Session::held`].
    ///
    /// # Errors
    /// The handshake is not complete, we have ended, or the keys are worn out.
    pub fn seal(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Error> {
        let mut sealed = 0;
        self.run(&mut [], &mut Vec::new(), Act::Seal { plain, room, sealed: &mut sealed })?;
        Ok(sealed)
    }

    /// Appends to [`Session::due`] the word that nothing more will be sent. What [`Session::open`]
    /// has left must be in [`Session::held`].
    ///
    /// # Errors
    /// The handshake is not complete.
    pub fn end(&mut self) -> Result<(), Error> {
        self.run(&mut [], &mut Vec::new(), Act::End).map(drop)
    }

    /// Gives back the memory of what is held no more.
    pub fn shrink(&mut self) {
        self.held.shrink_to_fit();
        self.due.shrink_to_fit();
    }

    fn run(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        act: Act<'_>,
    ) -> Result<usize, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let Self { side, due, ended, held, .. } = self;
        // The library remembers where the parts of an incomplete message lie, and must find them.
        let incoming = if matches!(act, Act::Nothing) { incoming } else { held.as_mut_slice() };
        let mut flow = Flow { plain, due, ended };
        let run = match side {
            Side::Server(engine) => flow.run(&mut **engine, incoming, act),
            Side::Client(engine) => flow.run(&mut **engine, incoming, act),
        };
        run.inspect_err(|error| self.broken = Some(error.clone()))
    }
}

/// What to do once the connection may carry data.
enum Act<'a> {
    Nothing,
    Seal { plain: &'a [u8], room: &'a mut [u8], sealed: &'a mut usize },
    End,
}

/// The two sides take records alike, and have no type in common that says so.
trait Engine {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn wants_write(&self) -> bool;
}

impl Engine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

impl Engine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

/// Where what comes out of a connection goes.
struct Flow<'a> {
    plain: &'a mut Vec<u8>,
    due: &'a mut Vec<u8>,
    ended: &'a mut bool,
}

impl Flow<'_> {
    /// Runs the connection until it wants more than it was given, or has done what it should.
    fn run<E: Engine>(
        &mut self,
        engine: &mut E,
        incoming: &mut [u8],
        act: Act<'_>,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        let mut broken = None;
        loop {
            // A connection that broke must not look at what came again: only the alert is still to
            // come out.
            if let Some(error) = broken.as_ref().filter(|_| !engine.wants_write()) {
                return Err(Error::clone(error));
            }
            let rest = incoming.get_mut(taken..).unwrap_or_default();
            let UnbufferedStatus { discard, state, .. } = engine.process(rest);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    broken.get_or_insert(error);
                    continue;
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        taken += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, self.due)?,
                // It stands in `due`, which goes out before anything else.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => *self.ended = true,
                ConnectionState::WriteTraffic(traffic) => {
                    taken += discard;
                    return self.act(traffic, act).map(|()| taken);
                }
                _ if matches!(act, Act::Nothing) => return Ok(taken + discard),
                _ => return Err(Error::HandshakeNotComplete),
            }
            taken += discard;
        }
    }

    fn act<D>(&mut self, mut traffic: WriteTraffic<'_, D>, act: Act<'_>) -> Result<(), Error> {
        let written = match act {
            Act::Nothing => return Ok(()),
            Act::Seal { plain, room, sealed } => {
                traffic.encrypt(plain, room).map(|written| *sealed = written)
            }
            Act::End => {
                let mut room = [0; CONTROL];
                let ending = traffic.queue_close_notify(&mut room);
                ending.map(|n| self.due.extend_from_slice(room.get(..n).unwrap_or_default()))
            }
        };
        written.map_err(|error| Error::General(error.to_string()))
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, due: &mut Vec<u8>) -> Result<(), Error> {
    let before = due.len();
    let required = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        other => return other.map(drop).map_err(|error| Error::General(error.to_string())),
    };
    due.resize(before + required, 0);
    let room = due.get_mut(before..).unwrap_or_default();
    data.encode(room).map(drop).map_err(|error| Error::General(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use rustls::crypto::CryptoProvider;
    use rustls::{
        CipherSuiteCommon, ClientConnection as Other, SupportedCipherSuite, Tls13CipherSuite,
    };

    use super::*;
    use crate::config::ClientTls;

    /// Two ends that trust each other, before their handshake.
    fn pair() -> (Session, Session) {
        pair_with(|_| {})
    }

    fn pair_with(change: impl Fn(&mut ServerConfig)) -> (Session, Session) {
        let mut server = server(rustls::ALL_VERSIONS);
        change(&mut server);
        let client = Session::client(client(), name()).unwrap();
        (client, Session::server(Arc::new(server)).unwrap())
    }

    fn server(versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
        server_of(crate::tls::provider(), versions)
    }

    fn server_of(
        provider: Arc<CryptoProvider>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let made = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap()
    }

    fn client() -> Arc<ClientConfig> {
        crate::tls::client(&ClientTls { verify: false, ..ClientTls::default() }, &[]).unwrap()
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("db.example").unwrap()
    }

    /// Hands over what one side has to send; gives the plaintext in it.
    fn pass(from: &mut Session, to: &mut Session) -> Vec<u8> {
        let mut plain = Vec::new();
        to.held.append(&mut from.due);
        let mut held = std::mem::take(&mut to.held);
        let taken = to.open(&mut held, &mut plain).unwrap();
        to.held = held.split_off(taken);
        plain
    }

    fn seal(session: &mut Session, plain: &[u8]) {
        let mut room = vec![0; Session::room_for(plain.len())];
        let sealed = session.seal(plain, &mut room).unwrap();
        session.due.extend_from_slice(&room[..sealed]);
    }

    fn shaken() -> (Session, Session) {
        let (mut client, mut server) = pair();
        client.open(&mut [], &mut Vec::new()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        (client, server)
    }

    #[test]
    fn what_one_side_seals_the_other_opens_both_ways_and_to_the_end() {
        let (mut client, mut server) = shaken();
        assert_eq!(client.version(), Some(TlsVersion::V1_3));
        let much: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        seal(&mut client, &much);
        assert_eq!(pass(&mut client, &mut server), much);
        seal(&mut server, b"thanks");
        assert_eq!(pass(&mut server, &mut client), b"thanks");

        client.end().unwrap();
        assert_eq!(pass(&mut client, &mut server), b"");
        assert!(server.has_ended() && !client.has_ended());
        // The other way is still open.
        seal(&mut server, b"last words");
        assert_eq!(pass(&mut server, &mut client), b"last words");
    }

    #[test]
    fn a_message_of_which_a_part_has_come_is_in_nobodys_way() {
        // Small records, so that the tickets behind the handshake come in several.
        let (mut client, mut server) = pair_with(|config| config.max_fragment_size = Some(64));
        client.open(&mut [], &mut Vec::new()).unwrap();
        while server.is_handshaking() {
            pass(&mut client, &mut server);
            if server.is_handshaking() {
                pass(&mut server, &mut client);
            }
        }
        let mut tickets = std::mem::take(&mut server.due);
        while !tickets.is_empty() {
            server.due = tickets.drain(..tickets.len().min(50)).collect();
            pass(&mut server, &mut client);
            seal(&mut client, b"meanwhile");
            assert_eq!(pass(&mut client, &mut server), b"meanwhile");
        }
        assert!(client.held.is_empty());
    }

    #[test]
    fn garbage_is_answered_by_an_alert() {
        let (_, mut server) = pair();
        let mut garbage = *b"GET / HTTP/1.0\r\n\r\n";
        server.open(&mut garbage, &mut Vec::new()).unwrap_err();
        server.open(&mut garbage, &mut Vec::new()).unwrap_err();
        assert_eq!(server.due.first(), Some(&21));
    }

    #[test]
    fn keys_that_are_worn_out_are_renewed_and_the_session_goes_on() {
        let mut provider = CryptoProvider::clone(&crate::tls::provider());
        let short_lived = |suite: &SupportedCipherSuite| {
            let suite = suite.tls13()?;
            let (name, hash_provider) = (suite.common.suite, suite.common.hash_provider);
            let common = CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit: 8 };
            let (hkdf_provider, aead_alg) = (suite.hkdf_provider, suite.aead_alg);
            let suite = Tls13CipherSuite { common, hkdf_provider, aead_alg, quic: None };
            Some(SupportedCipherSuite::Tls13(Box::leak(Box::new(suite))))
        };
        provider.cipher_suites = provider.cipher_suites.iter().filter_map(short_lived).collect();
        let config = server_of(Arc::new(provider), &[&rustls::version::TLS13]);
        let mut server = Session::server(Arc::new(config)).unwrap();
        let mut client = Session::client(client(), name()).unwrap();
        client.open(&mut [], &mut Vec::new()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        for n in 0..100 {
            // More than one record at times, and answers, which tell of the client's own new keys.
            let said = vec![n; 1 + usize::from(n) * 400];
            seal(&mut server, &said);
            assert!(pass(&mut server, &mut client) == said, "{n}");
            seal(&mut client, &[n]);
            assert_eq!(pass(&mut client, &mut server), [n]);
        }
    }

    /// A connection of the library's other kind, shaken with a session of ours.
    fn with_another(version: &'static rustls::SupportedProtocolVersion) -> (Other, Session) {
        let mut server = Session::server(Arc::new(server(&[version]))).unwrap();
        let mut other = Other::new(client(), name()).unwrap();
        while other.is_handshaking() || server.is_handshaking() {
            let mut flight = written(&mut other);
            let taken = server.open(&mut flight, &mut Vec::new()).unwrap();
            assert_eq!(taken, flight.len());
            hear(&mut other, &std::mem::take(&mut server.due));
        }
        (other, server)
    }

    fn written(other: &mut Other) -> Vec<u8> {
        let mut flight = Vec::new();
        while other.wants_write() {
            other.write_tls(&mut flight).unwrap();
        }
        flight
    }

    /// Has it read all of it; gives the plaintext.
    fn hear(other: &mut Other, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            other.read_tls(&mut bytes).unwrap();
            other.process_new_packets().unwrap();
            other.reader().read_to_end(&mut plain).ok();
        }
        plain
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn whatever_is_said_and_however_it_is_cut_it_arrives(
            is_new in any::<bool>(),
            pieces in vec((0..40_000_usize, any::<bool>()), 1..6),
            cuts in vec(1..20_000_usize, 1..20),
        ) {
            let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
            let (mut other, mut session) = with_another(versions[usize::from(is_new)]);
            let (mut said, mut heard, mut answered) = (Vec::new(), Vec::new(), Vec::new());
            let mut cuts = cuts.into_iter().cycle();
            for (n, (length, renews)) in pieces.into_iter().enumerate() {
                if renews && is_new {
                    other.refresh_traffic_keys().unwrap();
                }
                let piece: Vec<u8> = (0..length).map(|at| (at * 31 + n) as u8).collect();
                let mut flight = Vec::new();
                for part in piece.chunks(30_000) {
                    other.writer().write_all(part).unwrap();
                    flight.extend(written(&mut other));
                }
                let mut rest = flight.as_slice();
                while !rest.is_empty() {
                    let (part, behind) = rest.split_at(rest.len().min(cuts.next().unwrap()));
                    let mut held = std::mem::take(&mut session.held);
                    held.extend_from_slice(part);
                    let taken = session.open(&mut held, &mut heard).unwrap();
                    session.held = held.split_off(taken);
                    rest = behind;
                    // In the middle of a record, and with an update of the keys to be answered.
                    seal(&mut session, part);
                    prop_assert_eq!(&hear(&mut other, &std::mem::take(&mut session.due)), part);
                    answered.extend_from_slice(part);
                }
                prop_assert!(session.held.is_empty());
                said.extend(piece);
            }
            prop_assert!(heard == said);
            other.send_close_notify();
            prop_assert_eq!(session.open(&mut written(&mut other), &mut Vec::new()).is_ok(), true);
            prop_assert!(session.has_ended());
        }
    }
}
