//! A key is in no message.

use cloakroom::engine::SessionKey;

#[derive(serde::Serialize)]
struct Message {
    key: SessionKey,
}

fn main() {}
