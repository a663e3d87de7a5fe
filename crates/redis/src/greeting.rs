//! The first look at a server.

use cloakroom_core::{Error, ErrorKind};

use crate::link::Again;
use crate::trouble::{error, lacks_a_right, told};
use crate::wire::{Caller, Wire, strange};

/// Connects, and refuses or warns of what would fail later.
pub(crate) async fn greet(caller: &Caller) -> Result<(), Error> {
    let call = redis::cmd("INFO");
    let info = match &caller.wire {
        Wire::One(_) => caller.read("", &call).await,
        Wire::Many(_) => any(caller, &call).await,
    };
    let info: String = match info {
        Ok(info) => redis::from_redis_value(info).map_err(|_| strange())?,
        // It lives, and keeps its secrets.
        Err(error) if lacks_a_right(&error) => {
            return caller.servers_now().await.map(|_| ());
        }
        Err(error) => return Err(error),
    };
    let says = |line: &str| info.lines().any(|l| l.trim_end() == line);
    let at = caller.at();
    let wrong = |text: String| Err(error(ErrorKind::Misconfigured, text));
    if says("loading:1") {
        let text = format!("{at} is loading its data");
        return Err(error(ErrorKind::Unavailable, text));
    }
    match (caller.is_one(), says("cluster_enabled:1")) {
        (true, true) => return wrong(format!("{at} is a node of a cluster; open it as one")),
        (false, false) => return wrong(format!("{at} is no cluster; open it as a single server")),
        (true, false) if says("role:slave") => {
            return wrong(format!(
                "{at} is a replica, and takes no writes; give the primary"
            ));
        }
        (true, false) => {}
        (false, true) => {
            caller.servers_now().await?;
        }
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

/// Asks the first that answers of the servers a cluster was named by.
async fn any(caller: &Caller, call: &redis::Cmd) -> Result<redis::Value, Error> {
    let Wire::Many(cluster) = &caller.wire else {
        return caller.read("", call).await;
    };
    let mut last = None;
    for link in cluster.seeds() {
        let by = tokio::time::Instant::now() + caller.timeout;
        match link.call(call, Again::Read, by).await {
            Ok(info) => return Ok(info),
            Err(fault) => last = Some(told(fault, Again::Read, &link.address(), caller.timeout)),
        }
    }
    Err(last.unwrap_or_else(strange))
}
