//! PostgreSQL: the upgrade that its clients ask for, and TLS from the first byte.

use std::path::PathBuf;
use std::process::Command;

use super::{NAME, authority, ending, pool};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Finished, finish};
use crate::harness::wait::{PATIENCE, eventually};
use crate::real::postgres::Postgres;

const UPGRADE: &str = "starttls = \"postgres\"";

/// What the server itself thinks: whether it speaks TLS with this client, and who it is.
const ASK: &str = "SELECT ssl, current_setting('cluster_name') \
                   FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// The words of a connection to the proxy under this name.
fn connection(proxy: &Evenkeel, authority: &Authority, name: &str, mode: &str) -> String {
    format!(
        "host={name} hostaddr=127.0.0.1 port={} user=bench dbname=postgres sslmode={mode} \
         sslrootcert={} gssencmode=disable connect_timeout=15",
        proxy.at().port(),
        authority.ca_file().display()
    )
}

fn psql(server: &Postgres, connection: &str) -> Finished {
    let mut command = Command::new(server.program("psql"));
    command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", ASK]);
    finish(command.arg("--dbname").arg(connection), PATIENCE)
}

#[test]
fn psql_verifies_the_balancer_while_the_server_is_spoken_to_in_cleartext() {
    let Some(server) = Postgres::bare("plain") else { return };
    let authority = authority();
    let proxy = Evenkeel::start(&ending(&authority, UPGRADE, server.seat.address()));
    let to = |name, mode| connection(&proxy, &authority, name, mode);
    let said = psql(&server, &to(NAME, "verify-full")).expect_code(0);
    assert_eq!(said.stdout, "f|plain\n");
    let wrong = psql(&server, &to("other.example", "verify-full")).expect_code(2);
    assert!(wrong.stderr.contains("other.example"), "{}", wrong.stderr);
    // Who asks for no TLS is sent away.
    psql(&server, &to(NAME, "disable")).expect_code(2);
    eventually("it is counted", PATIENCE, || proxy.rejected("tls") >= 1);
    proxy.wait_idle();
    // A connection for each transaction, each with an upgrade.
    let mut load = Command::new(server.program("pgbench"));
    let script = authority.folder().join("script.sql");
    std::fs::write(&script, "SELECT 1;\n").unwrap();
    load.args(["-n", "-C", "-c", "4", "-j", "2", "-t", "25", "-f"]).arg(script);
    let run = finish(load.arg(to(NAME, "verify-full")), 3 * PATIENCE).expect_code(0);
    assert!(run.stdout.contains("processed: 100/100"), "{}", run.text());
}

#[test]
fn psql_without_tls_is_let_through_to_a_plain_pool() {
    let Some(server) = Postgres::bare("plain") else { return };
    let authority = authority();
    let file = ending(&authority, UPGRADE, server.seat.address())
        .replace("pool = \"p\"\n", "pool = \"p\"\nplain_pool = \"q\"\n");
    let proxy = Evenkeel::start(&format!("{file}{}", pool("q", server.seat.address())));
    for (mode, reached) in [("disable", "q"), ("require", "p"), ("verify-full", "p")] {
        let to = connection(&proxy, &authority, NAME, mode);
        assert_eq!(psql(&server, &to).expect_code(0).stdout, "f|plain\n", "{mode}");
        let counted = || proxy.metrics().count("sessions_total", &[("pool", reached)]) >= 1;
        eventually("the pool had it", PATIENCE, counted);
    }
}

#[test]
fn psql_reaches_servers_by_name_and_verifies_each_of_them_itself() {
    let authority = authority();
    let speaking = |name: &str| {
        let (cert, key) = authority.write(name, &authority.sign(&[name]));
        let mut server = Postgres::bare(name)?;
        server.speak_tls(&cert, &key);
        Some(server)
    };
    let (Some(one), Some(two)) = (speaking("one.example"), speaking("two.example")) else {
        return;
    };
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\n[listener.l.tls]\n{UPGRADE}\n\
         [[listener.l.route]]\nsni = \"one.example\"\npool = \"one\"\n\
         [[listener.l.route]]\nsni = \"two.example\"\npool = \"two\"\n{}{}",
        pool("one", one.seat.address()),
        pool("two", two.seat.address())
    ));
    for name in ["one.example", "two.example", "one.example"] {
        let to = connection(&proxy, &authority, name, "verify-full");
        assert_eq!(psql(&one, &to).expect_code(0).stdout, format!("t|{name}\n"));
    }
    psql(&one, &connection(&proxy, &authority, "three.example", "verify-full")).expect_code(2);
    eventually("it is counted", PATIENCE, || proxy.rejected("no-route") == 1);
}

/// A Python with psycopg, whose wheel brings a libpq that Debian may not have yet.
///
/// It is not from the distribution, so that no test may depend on its being there.
fn psycopg() -> Option<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/psycopg/bin/python");
    let python = PathBuf::from(std::env::var("PSYCOPG_PYTHON").unwrap_or_else(|_| own.into()));
    let mut ask = Command::new(&python);
    ask.args(["-c", "import psycopg; assert psycopg.pq.version() >= 170000"]);
    let works = python.exists() && finish(&mut ask, PATIENCE).code == Some(0);
    if !works {
        eprintln!("skipped: no psycopg with libpq 17 in {}", python.display());
    }
    works.then_some(python)
}

#[test]
fn a_libpq_that_begins_with_tls_is_served_too_and_known_by_its_protocol() {
    let Some(python) = psycopg() else { return };
    let Some(server) = Postgres::bare("plain") else { return };
    let authority = authority();
    let file = ending(&authority, UPGRADE, server.seat.address());
    let proxy = Evenkeel::start(&format!(
        "{file}[[listener.l.route]]\nname = \"direct\"\nalpn = \"postgresql\"\npool = \"q\"\n{}",
        pool("q", server.seat.address())
    ));
    for (negotiation, times) in [("direct", 1), ("postgres", 2)] {
        let to = connection(&proxy, &authority, NAME, "verify-full");
        let code = format!(
            "import psycopg\nwith psycopg.connect(\"{to} sslnegotiation={negotiation}\") as c:\n \
             print(c.execute(\"{ASK}\").fetchone())"
        );
        let said = finish(Command::new(&python).args(["-c", &code]), PATIENCE).expect_code(0);
        assert_eq!(said.stdout, "(False, 'plain')\n", "{negotiation}");
        // Since 17 it names its protocol either way.
        let counted = || proxy.metrics().count("sessions_total", &[("pool", "q")]) == times;
        eventually("the route took it", PATIENCE, counted);
    }
}
