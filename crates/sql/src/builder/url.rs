//! What a database's URL may say. Nothing of it is quoted in an error, since any part
//! of it may hold a password.

use cloakroom_core::Error;

use super::settings::misconfigured;

/// Refuses a URL with a parameter that sqlx does not read. sqlx would write such a
/// parameter into the log, value and all, and would pass over one that is misspelt.
pub(super) fn check_parameters(url: &str, names: &str) -> Result<(), Error> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_known = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // `options[search_path]` and its like in PostgreSQL; a program that builds the
        // URL escapes the brackets.
        let name = name.replace("%5B", "[").replace("%5D", "]");
        let name = name.as_str();
        let family = name.split_once('[').filter(|_| name.ends_with(']'));
        let is_read = |name: &str| names.split(' ').any(|read| read == name);
        let family = family.map(|(name, _)| format!("{name}[]"));
        pair.is_empty() || is_read(name) || family.is_some_and(|name| is_read(&name))
    };
    if query.split('&').all(is_known) {
        return Ok(());
    }
    Err(misconfigured(format!(
        "the URL of the database has a parameter that is none of: {names}"
    )))
}

/// What sqlx says of a URL is left out: it may quote it.
pub(super) fn unreadable(_: sqlx::Error) -> Error {
    misconfigured(
        "the URL of the database cannot be read: write SCHEME://USER:PASSWORD@HOST:PORT/DATABASE, \
         and escape what is special in a URL, such as @ or / in a password",
    )
}
