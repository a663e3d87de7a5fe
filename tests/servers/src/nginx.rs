//! An nginx, in front of a site of the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::machine;
use crate::server::{Kind, Server, is_a_server};
use crate::wire::Wire;

/// An nginx that passes requests on to another port of this machine.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
}
is_a_server!(Nginx);

impl Nginx {
    /// Starts one before the site at `upstream`, or says loudly that there is none on
    /// this machine. `location` are further directives of its one location, such as
    /// `proxy_cache shared;`, whose zone `shared` is there.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set, or does not start.
    pub fn start(upstream: u16, location: &str) -> Option<Self> {
        Self::start_with(upstream, "", location)
    }

    /// As [`start`](Self::start), with further directives of its server too, such as
    /// `large_client_header_buffers 4 32k;`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(upstream: u16, server: &str, location: &str) -> Option<Self> {
        let Some(program) = machine::program("nginx") else {
            machine::absent(&["nginx"], "nginx");
            return None;
        };
        let (server, location) = (server.to_owned(), location.to_owned());
        let kind = Kind {
            name: "nginx",
            stop: "TERM",
            answers,
            command: Box::new(move |port, folder| {
                let text = configuration(port, folder, upstream, [&server, &location]);
                let file = folder.join("nginx.conf");
                std::fs::write(&file, text).expect("the folder can be written");
                // This process may have a narrow mask and another user.
                let mode = std::fs::Permissions::from_mode(0o644);
                std::fs::set_permissions(&file, mode).expect("its own file");
                let words = ["-p", &folder.display().to_string(), "-e", "stderr", "-c"];
                let mut command = vec![program.display().to_string()];
                command.extend(words.map(str::to_owned));
                command.push(file.display().to_string());
                command
            }),
        };
        let user = machine::user(&["www-data"]);
        Some(Self {
            server: Server::start(kind, user.as_ref(), |_| ()),
        })
    }
}

fn configuration(port: u16, folder: &Path, upstream: u16, [server, location]: [&str; 2]) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("    {of}_temp_path {folder}/{of};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\nhttp {{\n    access_log off;\n{temporary}    \
         proxy_cache_path {folder}/cache keys_zone=shared:1m;\n    server {{\n        \
         listen 127.0.0.1:{port};\n        {server}\n        location = /nginx {{ return 200 '{folder}'; }}\n        \
         location / {{\n            proxy_pass http://127.0.0.1:{upstream};\n            \
         {location}\n        }}\n    }}\n}}\n"
    )
}

fn answers(port: u16, folder: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut wire = Wire::connect(port)?;
        wire.send(b"GET /nginx HTTP/1.0\r\n\r\n")?;
        let own = folder.display().to_string();
        loop {
            let line = wire.take_line()?;
            if line.is_empty() {
                let body = wire.take(own.len())?;
                return Ok(body == own.as_bytes());
            }
        }
    };
    ask().unwrap_or(false)
}
