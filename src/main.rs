//! temporary
use evenkeel::addr::BackendAddr;
use evenkeel::config::*;
use std::time::Duration;
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap().parse().unwrap();
    let members = args
        .map(|a| Member {
            name: a.as_str().into(),
            address: BackendAddr::Ip(a.parse().unwrap()),
            weight: 1,
            max_sessions: 0,
            backup: false,
            state: AdminState::Ready,
        })
        .collect();
    let config = Config {
        process: Process {
            threads: 2,
            shutdown_timeout: Duration::from_secs(30),
            pid_file: None,
            max_sessions: 0,
            user: None,
            group: None,
        },
        log: Log { level: Level::Info, format: LogFormat::Text, access: Access::Off },
        admin: Admin { bind: AdminBind::Off, token_file: None },
        listeners: vec![Listener {
            name: "l".into(),
            bind: vec![listen],
            pool: 0,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_lifetime: None,
            keepalive: Some(Duration::from_secs(60)),
            max_sessions: 0,
            backlog: 4096,
        }],
        pools: vec![Pool {
            name: "p".into(),
            members,
            policy: Policy::LeastConnections,
            connect_timeout: Duration::from_secs(1),
            keepalive: Some(Duration::from_secs(60)),
            fallback: None,
            fail_open: false,
            max_sessions: 0,
            source: vec![],
            retry: Retry { attempts: 3, window: Duration::from_secs(5), backoff: Duration::ZERO },
            health: Health {
                probe: Probe::None,
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                rise: 2,
                fall: 3,
                address: None,
                port: None,
            },
        }],
        origin: Origin::default(),
    };
    let rt =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    rt.block_on(async {
        let files = evenkeel::server::raise_open_files();
        let bound = evenkeel::server::Bound::bind(config, None, files).unwrap();
        let mut signals = evenkeel::server::Signals::install().unwrap();
        let server = bound.start().await.unwrap();
        signals.stop().await;
        server.stop(async { signals.stop().await }).await;
    });
}
