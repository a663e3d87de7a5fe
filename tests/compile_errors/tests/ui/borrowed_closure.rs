//! A closure of `update` may run after the handler has returned.

use cloakroom::session::Session;

fn handler(session: &Session) {
    let mut seen = 0_u64;
    let _ = session.update("n", |n: &mut u64| {
        *n += 1;
        seen = *n;
    });
}

fn main() {}
