//! A pgbouncer, in front of a PostgreSQL of the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::machine;
use crate::postgres::query;
use crate::server::{Kind, Server, is_a_server};

/// A pgbouncer that lends the connections of a PostgreSQL by the transaction.
#[derive(Debug)]
pub struct Pgbouncer {
    server: Server,
}
is_a_server!(Pgbouncer);

impl Pgbouncer {
    /// Starts one before the PostgreSQL at `upstream`, with `connections` to it, or says
    /// loudly that there is none on this machine. `settings` are further lines of its
    /// section `[pgbouncer]`; the last of a name wins.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set, or does not start.
    pub fn start(upstream: u16, connections: u32, settings: &str) -> Option<Self> {
        let Some(program) = machine::program("pgbouncer") else {
            machine::absent(&["pgbouncer"], "pgbouncer");
            return None;
        };
        let settings = settings.to_owned();
        let kind = Kind {
            name: "pgbouncer",
            stop: "INT",
            answers,
            command: Box::new(move |port, folder| {
                let text = configuration(port, upstream, connections, &settings);
                let file = folder.join("pgbouncer.ini");
                std::fs::write(&file, text).expect("the folder can be written");
                // This process may have a narrow mask and another user.
                let mode = std::fs::Permissions::from_mode(0o644);
                std::fs::set_permissions(&file, mode).expect("its own file");
                [program.as_path(), &file]
                    .map(|part| part.display().to_string())
                    .to_vec()
            }),
        };
        let user = machine::user(&["postgres"]);
        Some(Self {
            server: Server::start(kind, user.as_ref(), |_| ()),
        })
    }

    /// `postgres://postgres@127.0.0.1:port/cloakroom`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/cloakroom", self.port())
    }
}

/// `auth_type = any` takes whoever comes, as the user that is named here.
fn configuration(port: u16, upstream: u16, connections: u32, settings: &str) -> String {
    format!(
        "[databases]\ncloakroom = host=127.0.0.1 port={upstream} user=postgres\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = transaction\nmax_client_conn = 1000\n\
         default_pool_size = {connections}\nadmin_users = postgres\n\
         {settings}\n"
    )
}

/// Its own console tells where its settings stand.
fn answers(port: u16, folder: &Path) -> bool {
    let own = folder.join("pgbouncer.ini");
    query(port, "pgbouncer", "SHOW CONFIG").is_ok_and(|rows| {
        rows.iter()
            .any(|row| row[0] == "conffile" && Path::new(&row[1]) == own)
    })
}
