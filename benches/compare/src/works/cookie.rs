//! W5: a whole session in a cookie.

use std::hint::black_box;
use std::time::Instant;

use crate::contender::{REPETITIONS, Run, Sealer, operations};
use crate::profile::Profile;

impl Run {
    pub fn seal(&self, sealer: impl Sealer) {
        if !self.wants("w5") {
            return;
        }
        let profiles: Vec<_> = (0..1024).map(Profile::new).collect();
        let sealed: Vec<_> = profiles.iter().map(|p| sealer.seal(p)).collect();
        let mut opened = profiles.iter().zip(&sealed);
        assert!(opened.all(|(profile, value)| sealer.open(value) == *profile));
        let bytes: usize = sealed.iter().map(String::len).sum();
        self.emit("W5", "size", bytes as f64 / sealed.len() as f64, "B");
        self.time("seal", |i| {
            drop(black_box(sealer.seal(&profiles[i % 1024])))
        });
        self.time("open", |i| drop(black_box(sealer.open(&sealed[i % 1024]))));
    }

    fn time(&self, variant: &str, operation: impl Fn(usize)) {
        let run = |n| {
            let start = Instant::now();
            (0..n).for_each(&operation);
            start.elapsed().as_nanos() as f64 / n as f64
        };
        let n = operations(run(2000), 1_000_000);
        run(n);
        for _ in 0..REPETITIONS {
            self.emit("W5", variant, run(n), "ns");
        }
    }
}
