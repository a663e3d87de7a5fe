//! A cluster of Redis servers.

use std::time::{Duration, Instant};

use crate::Redis;
use crate::server::PATIENCE;

/// How many hash slots a cluster has.
const SLOTS: usize = 16_384;
const MASTERS: usize = 3;

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
        let ports: Vec<String> = cluster.ports().iter().map(u16::to_string).collect();
        for node in &cluster.nodes {
            for port in &ports {
                cluster.ask(node, &["CLUSTER", "MEET", "127.0.0.1", port]);
            }
        }
        cluster.wait();
        Some(cluster)
    }

    /// Waits until every node knows all the others and calls the state ok.
    ///
    /// # Panics
    /// Where that takes more than [`PATIENCE`].
    pub fn wait(&self) {
        let known = format!("cluster_known_nodes:{MASTERS}");
        let signs = ["cluster_state:ok", "cluster_slots_ok:16384", &known];
        let until = Instant::now() + PATIENCE;
        for node in &self.nodes {
            loop {
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                if signs.iter().all(|sign| info.lines().any(|l| l == *sign)) {
                    break;
                }
                assert!(
                    Instant::now() < until,
                    "the cluster does not form: {info}\n{}",
                    node.log()
                );
                std::thread::sleep(Duration::from_millis(20));
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
