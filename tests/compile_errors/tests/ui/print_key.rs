//! A key is not text.

use cloakroom::engine::SessionKey;

fn main() {
    let key = SessionKey::from_bytes([0; 32]);
    println!("{key}");
}
