//! The scripts. Each runs on the server as one step.
//!
//! A server refuses each call of a script by itself (a missing right, another type), and
//! what it refuses must not be half done. So the record is written last, by one command
//! with its TTL; an index entry without its record is harmless. A call that must come
//! after the record is tried before it in a form that changes nothing.
//!
//! A script holds its own words alone: what it would define at its head, a function or a
//! table, the server would make anew at each call. What two scripts have in common is
//! pasted into both. None asks the server's clock: a lifetime is a duration, and what is
//! due is judged by the application's.

use std::sync::LazyLock;

use cloakroom_core::store::{ROTATION_HOPS_MAX, Revision};
use redis::Cmd;

use crate::value::HEAD_BYTES;

/// A script, and the hash by which a server that has seen it knows it.
#[derive(Debug)]
pub(crate) struct Script {
    code: String,
    hash: String,
}

macro_rules! scripts {
    ($($name:ident: $file:literal),+ $(,)?) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(include_str!(concat!("scripts/", $file)))
        });)+
    };
}

scripts! {
    CREATE: "create.lua",
    UPDATE: "update.lua",
    UPDATE_IN_CLUSTER: "update_in_cluster.lua",
    TOUCH: "touch.lua",
    TOUCH_IN_CLUSTER: "touch_in_cluster.lua",
    ROTATE: "rotate.lua",
    ROTATE_MARK: "rotate_mark.lua",
    ROTATE_FINISH: "rotate_finish.lua",
    ROTATE_CANCEL: "rotate_cancel.lua",
    END: "end.lua",
    END_ONE: "end_one.lua",
    REVOKE: "revoke.lua",
    INDEX_ADD: "index_add.lua",
    REMOVE_ORPHANS: "remove_orphans.lua",
}

impl Script {
    fn new(body: &str) -> Self {
        let body = body
            .replace("\nLIST\n", include_str!("scripts/list.lua"))
            .replace("\nRESOLVE\n", include_str!("scripts/resolve.lua"))
            .replace("\nTOMBSTONE\n", include_str!("scripts/tombstone.lua"));
        let code = format!(
            "local HEAD_BYTES, ROTATION_HOPS_MAX = {HEAD_BYTES}, {ROTATION_HOPS_MAX}\n\
             local REVISION_LAST = '{}'\n\
             local NEWLINE, DASH = 10, 45\n{body}",
            Revision::LAST.as_u64()
        );
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Calls the script by its hash. A server that has not seen it since it was started
    /// refuses that with `NOSCRIPT`, and does nothing.
    pub(crate) fn evalsha(&self, keys: &[String], args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.hash, keys, args)
    }

    /// Calls the script by its text, which the server keeps.
    pub(crate) fn eval(&self, keys: &[String], args: &[&[u8]]) -> Cmd {
        call("EVAL", &self.code, keys, args)
    }
}

fn call(command: &str, script: &str, keys: &[String], args: &[&[u8]]) -> Cmd {
    let mut call = redis::cmd(command);
    call.arg(script).arg(keys.len());
    for key in keys {
        call.arg(key);
    }
    for arg in args {
        call.arg(*arg);
    }
    call
}
