//! The scripts. Each runs on the server as one step.

use std::sync::LazyLock;

use cloakroom_core::store::ROTATION_HOPS_MAX;
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
    TOUCH: "touch.lua",
    ROTATE: "rotate.lua",
    ROTATE_MARK: "rotate_mark.lua",
    ROTATE_FINISH: "rotate_finish.lua",
    ROTATE_CANCEL: "rotate_cancel.lua",
    DELETE: "delete.lua",
    DELETE_ONE: "delete_one.lua",
    REVOKE: "revoke.lua",
    INDEX_ADD: "index_add.lua",
    REMOVE_ORPHANS: "remove_orphans.lua",
}

impl Script {
    fn new(body: &str) -> Self {
        let code = format!(
            "local HEAD_BYTES, ROTATION_HOPS_MAX = {HEAD_BYTES}, {ROTATION_HOPS_MAX}\n{}\n{body}",
            include_str!("scripts/common.lua")
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
