//! A key is in no message.

use cloakroom::SessionKey;

#[derive(serde::Serialize)]
struct Message {
    key: SessionKey,
}

fn main() {}
