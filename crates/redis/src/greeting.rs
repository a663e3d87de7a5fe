//! The first look at a server.

use cloakroom_core::{Error, ErrorKind};

use crate::trouble::error;
use crate::wire::{Caller, Wire, strange};

/// Connects, and refuses or warns of what would fail later.
pub(crate) async fn greet(caller: &Caller) -> Result<(), Error> {
    let info = caller.read("", &redis::cmd("INFO")).await?;
    let info: String = redis::from_redis_value(info).map_err(|_| strange())?;
    let says = |line: &str| info.lines().any(|l| l.trim_end() == line);
    let at = caller.at();
    if says("loading:1") {
        let text = format!("{at} is loading its data");
        return Err(error(ErrorKind::Unavailable, text));
    }
    if matches!(caller.wire, Wire::One(_)) && says("cluster_enabled:1") {
        let text = format!("{at} is a node of a cluster; open it as one");
        return Err(error(ErrorKind::Misconfigured, text));
    }
    if says("role:slave") {
        let text = format!("{at} is a replica, and takes no writes; give the primary");
        return Err(error(ErrorKind::Misconfigured, text));
    }
    let policy = info
        .lines()
        .find_map(|line| line.trim_end().strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            server = %at,
            policy,
            "this Redis ends sessions when its memory is full; maxmemory-policy noeviction does not"
        );
    }
    Ok(())
}
