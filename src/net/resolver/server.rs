//! One question to several name servers.
//!
//! They are asked in their order, as the system does. One that is slow does not hold up the answer:
//! after a moment the next one is asked beside it. A server that cannot answer is no answer.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A server may take so long before the next one is asked too.
const MOMENT: Duration = Duration::from_millis(400);

/// A server that nobody answers for is given up after so long; lost datagrams are sent again before.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// A name server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    address: SocketAddr,
    client: TokioResolver,
}

impl Server {
    /// Asks nothing yet. `None` if the library does not want it.
    pub(super) fn new(address: SocketAddr) -> Option<Self> {
        let at_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        // A long answer comes over TCP.
        let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
        let server = NameServerConfig::new(address.ip(), true, ways.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = LONGEST;
        options.attempts = 0;
        // Whoever asks knows how long an answer holds, and asks earlier only to learn of a change.
        options.cache_size = 0;
        options.preserve_intermediates = true;
        options.use_hosts_file = ResolveHosts::Never;
        let client = builder.build().ok()?;
        Some(Self { address, client })
    }

    async fn ask(self, name: Name, kind: RecordType) -> Result<Vec<Record>, String> {
        match self.client.lookup(name, kind).await {
            Ok(found) => Ok(found.answers().to_vec()),
            Err(error) if says_no(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("{} {}", self.address, why(&error))),
        }
    }
}

/// True if a server knows for sure that there is no such record.
fn says_no(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else { return false };
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn why(error: &NetError) -> String {
    match error {
        NetError::Timeout => "does not answer".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("answers with an error: {code}"),
        other => format!("cannot be asked: {other}"),
    }
}

/// The records of one name, those of aliases on the way among them; none if a server says that there
/// are none.
///
/// # Errors
/// What the last server that could not answer did instead.
pub(super) async fn ask(
    servers: &[Server],
    name: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, String> {
    let mut ahead = servers.iter();
    let mut asked = JoinSet::new();
    let mut trouble = "there is no name server".to_owned();
    loop {
        if let Some(server) = ahead.next() {
            asked.spawn(server.clone().ask(name.clone(), kind));
        }
        let patience = if ahead.len() == 0 { LONGEST } else { MOMENT };
        match timeout(patience, asked.join_next()).await {
            Ok(Some(Ok(Ok(records)))) => return Ok(records),
            Ok(Some(Ok(Err(why)))) => trouble = why,
            Ok(Some(Err(error))) => trouble = error.to_string(),
            // Nobody is left to wait for.
            Ok(None) => return Err(trouble),
            Err(_) => {}
        }
    }
}
