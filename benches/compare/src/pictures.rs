//! Which figures are drawn.

use std::error::Error;
use std::path::Path;

use crate::chart::{Group, draw};
use crate::goals::*;
use crate::results::Results;

/// One chart, `docs/speed/FILE.svg`.
struct Picture {
    file: &'static str,
    title: &'static str,
    work: &'static str,
    /// Each variant, and how the chart calls it.
    variants: &'static [(&'static str, &'static str)],
    contenders: &'static [&'static str],
}

pub fn draw_all(results: &Results, folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    PICTURES
        .iter()
        .try_for_each(|picture| picture.draw(results, folder))
}

impl Picture {
    fn draw(&self, results: &Results, folder: &Path) -> Result<(), Box<dyn Error>> {
        let (mut unit, mut groups) = (String::new(), Vec::<Group>::new());
        for (variant, heading) in self.variants {
            let bars = self.contenders.iter().filter_map(|contender| {
                let figure = results.figure(self.work, contender, variant)?;
                unit = figure.unit;
                Some(((*contender).to_owned(), figure.median))
            });
            let bars: Vec<_> = bars.collect();
            if !bars.is_empty() {
                groups.push(((*heading).to_owned(), bars));
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let file = folder.join(self.file).with_extension("svg");
        draw(&file, self.title, &unit, &groups)
    }
}

const ASYNC: &str = "async-session 3 memory";
const ONE_OR_TWO: &[(&str, &str)] = &[("1 thread", "one thread"), ("2 threads", "each of two")];

#[rustfmt::skip] // A table.
const PICTURES: &[Picture] = &[
    Picture {
        file: "request", title: "A whole request, sessions in memory", work: "W4",
        variants: &[
            ("anonymous", "no cookie"), ("untouched", "session left alone"),
            ("read", "two values read"), ("write", "one value written"), ("new", "a new session"),
        ],
        contenders: &[MEMORY, TOWER, "axum_session 0.22 memory", "raw: axum, no sessions"],
    },
    Picture {
        file: "servers", title: "A whole request, sessions in SQLite or Redis", work: "W4",
        variants: &[("read", "two values read"), ("write", "one value written")],
        contenders: &[NORMAL, TOWER_SQLITE, REDIS, TOWER_REDIS],
    },
    Picture {
        file: "load", title: "Loading one of 100,000 sessions", work: "W1",
        variants: &[
            ("1 thread", "one thread"), ("2 threads", "each of two"),
            ("decoded", "six values decoded"),
        ],
        contenders: &[MEMORY, NEAR, REDB, "cloakroom sled", TOWER, ASYNC],
    },
    Picture {
        file: "save", title: "Saving one of 100,000 sessions", work: "W2",
        variants: ONE_OR_TWO, contenders: &[MEMORY, TOWER, ASYNC],
    },
    Picture {
        file: "create", title: "Creating a session", work: "W3",
        variants: &[("1 thread", "one thread")], contenders: &[MEMORY, TOWER, ASYNC],
    },
    Picture {
        file: "cookie", title: "The whole session in a cookie", work: "W5",
        variants: &[("seal", "to the cookie"), ("open", "from the cookie")],
        contenders: &[
            ENCRYPTED, PRIVATE, SIGNED, SIGNED_JAR,
        ],
    },
    Picture {
        file: "memory", title: "Memory of a session, 200,000 of them", work: "W6",
        variants: &[("in the process", "resident")], contenders: &[MEMORY, TOWER, ASYNC],
    },
    Picture {
        file: "durable", title: "Durable creates a second", work: "W8",
        variants: &[
            ("1 writer", "one writer"), ("64 writers", "64 writers"),
            ("batches of 64", "raw batches of 64"),
        ],
        contenders: &[
            REDB, "cloakroom sled", "cloakroom sqlite", "raw: redb, batches of 64",
            "raw: sled, batches of 64", "raw: sqlite, batches of 64",
        ],
    },
    Picture {
        file: "growth", title: "Loads among ever more sessions", work: "W7",
        variants: &[
            ("load at 1000", "1,000"), ("load at 10000", "10,000"),
            ("load at 100000", "100,000"), ("load at 1000000", "1,000,000"),
            ("load at 10000000", "10,000,000"),
        ],
        contenders: &[MEMORY, REDB, TOWER],
    },
];
