//! A cluster of Redis servers.

use std::time::{Duration, Instant};

use crate::Redis;
use crate::server::PATIENCE;

/// How many hash slots a cluster has.
const SLOTS: usize = 16_384;
const MASTERS: usize = 3;

/// How long nodes have to meet before they are asked to once more. What is not
/// answered within two seconds they forget.
const MEETING: Duration = Duration::from_secs(5);

/// How many milliseconds a node may be silent, once the cluster stands, before the
/// others take it for dead. Set from the start, it would form some seconds later.
const SILENCE_MILLIS: &str = "15000";

/// Three masters that share all hash slots, without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one; returns once every node calls the cluster's state ok, some
    /// three seconds later, or says loudly that there is no Redis on this machine.
    ///
    /// # Panics
    /// Where Redis is absent and `CI` is set, or the cluster does not form.
    pub fn start() -> Option<Self> {
        let nodes: Option<Vec<Redis>> = (0..MASTERS).map(|_| Redis::start_node()).collect();
        let cluster = Self { nodes: nodes? };
        for (place, node) in cluster.nodes.iter().enumerate() {
            let share = SLOTS * place / MASTERS..SLOTS * (place + 1) / MASTERS;
            let slots: Vec<String> = share.map(|slot| slot.to_string()).collect();
            let mut add = vec!["CLUSTER", "ADDSLOTS"];
            add.extend(slots.iter().map(String::as_str));
            let epoch = (place + 1).to_string();
            cluster.ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            cluster.ask(node, &add);
        }
        cluster.meet();
        cluster.wait();
        Some(cluster)
    }

    /// Waits until every node knows all the others and calls the state ok, all at
    /// the same time.
    ///
    /// # Panics
    /// Where that takes more than [`PATIENCE`].
    pub fn wait(&self) {
        let known = format!("cluster_known_nodes:{MASTERS}");
        let signs = ["cluster_state:ok", "cluster_slots_ok:16384", &known];
        let until = Instant::now() + PATIENCE;
        let mut met = Instant::now();
        // A node that was restarted has forgotten how long others may be silent.
        let settle = ["CONFIG", "SET", "cluster-node-timeout", SILENCE_MILLIS];
        let stray = || {
            self.nodes.iter().find_map(|node| {
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                let is_well = signs.iter().all(|sign| info.lines().any(|l| l == *sign))
                    && node.command(&settle).is_ok();
                (!is_well).then_some((node, info))
            })
        };
        while let Some((node, info)) = stray() {
            assert!(
                Instant::now() < until,
                "the cluster does not form: {info}\n{}",
                node.log()
            );
            if met.elapsed() > MEETING {
                self.meet();
                met = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks each to get to know the others; who does not hear it is asked again.
    fn meet(&self) {
        for node in &self.nodes {
            for other in self.ports().iter().filter(|port| **port != node.port()) {
                let other = other.to_string();
                let _ = node.command(&["CLUSTER", "MEET", "127.0.0.1", &other]);
            }
        }
    }

    /// `redis://127.0.0.1:port` of each node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The port of each node.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port()).collect()
    }

    /// The nodes, to kill or pause one; [`wait`](Self::wait) after its restart.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    fn ask(&self, node: &Redis, parts: &[&str]) {
        let answer = node.command(parts);
        assert!(
            answer.as_ref().is_ok_and(|answer| answer == "OK"),
            "{} {}: {answer:?}",
            parts[0],
            parts[1]
        );
    }
}
