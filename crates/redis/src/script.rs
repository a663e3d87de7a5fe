//! The scripts: each runs on the server as one step.

use std::sync::LazyLock;

use cloakroom_core::store::ROTATION_HOPS_MAX;
use redis::Cmd;

/// A script, and the digest by which a server that has seen it knows it.
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
    DELETE: "delete.lua",
    REVOKE: "revoke.lua",
    TIDY: "tidy.lua",
    ENLIST: "enlist.lua",
    MARK: "mark.lua",
    SETTLE: "settle.lua",
    DROP: "drop.lua",
    END: "end.lua",
}

impl Script {
    fn new(body: &str) -> Self {
        let code = format!(
            "local ROTATION_HOPS_MAX = {ROTATION_HOPS_MAX}\n{}\n{body}",
            include_str!("scripts/common.lua")
        );
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// A call by the digest: the server refuses it, and does nothing, where it
    /// has not seen the script since it was started.
    pub(crate) fn by_digest(&self, keys: &[String], args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.hash, keys, args)
    }

    /// A call with the script itself, which the server keeps.
    pub(crate) fn in_full(&self, keys: &[String], args: &[&[u8]]) -> Cmd {
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
