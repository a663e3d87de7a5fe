//! What Django signs of a session: an object of JSON in base64url, behind a dot where it is
//! deflated.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::session::Value;
use cloakroom_core::{Error, Timestamp};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit as inflate;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::source::{corrupt, value_of};

/// The most that a session may hold, in bytes of JSON; the engine's own limits come after.
const JSON_BYTES_MAX: usize = 1 << 20;

/// The entries of a payload, and how many more there are that Rust cannot hold.
///
/// Each is read by itself: Python writes `NaN` and half of a surrogate pair, of which a reader
/// of JSON would refuse the whole session, and with it the login.
pub(super) fn entries(payload: &str) -> Result<(Vec<(String, Value)>, usize), Error> {
    let json = json(payload)?;
    let (entries, unnamed) = split(&json).ok_or_else(|| match json.starts_with('\u{80}') {
        true => corrupt("this session of Django is a pickle, which nothing here decodes"),
        false => corrupt("this session of Django is no object of JSON"),
    })?;
    let count = entries.len();
    let read = |(name, text): (String, &str)| {
        let value = value_of(serde_json::from_str(text).ok()?).ok()?;
        Some((name, value))
    };
    let entries: Vec<_> = entries.into_iter().filter_map(read).collect();
    let lost = unnamed + count - entries.len();
    Ok((entries, lost))
}

/// The text in a payload. Django writes ASCII, and reads Latin-1.
fn json(payload: &str) -> Result<String, Error> {
    let (text, is_deflated) = match payload.strip_prefix('.') {
        Some(text) => (text, true),
        None => (payload, false),
    };
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let mut bytes = decoded.map_err(|_| corrupt("this session of Django is no base64url"))?;
    if is_deflated {
        bytes = inflate(&bytes, JSON_BYTES_MAX).map_err(|_| {
            corrupt("this session of Django cannot be inflated, or is larger than 1 MiB then")
        })?;
    }
    if bytes.len() > JSON_BYTES_MAX {
        return Err(corrupt("this session of Django is larger than 1 MiB"));
    }
    Ok(bytes.into_iter().map(char::from).collect())
}

/// The names of an object of JSON, and the text of each value; and how many more have a name
/// that Rust cannot hold. Of a name that stands twice, the last counts.
fn split(json: &str) -> Option<(BTreeMap<String, &str>, usize)> {
    let (mut entries, mut unnamed) = (BTreeMap::new(), 0);
    let mut rest = json.trim().strip_prefix('{')?.trim_start();
    if rest == "}" {
        return Some((entries, unnamed));
    }
    loop {
        let (name, after) = rest.split_at(end_of_value(rest, b':')?);
        let is_text = name.trim_start().starts_with('"');
        let name: Option<String> = serde_json::from_str(name).ok();
        let after = &after[1..];
        let end = end_of_value(after, b',').or_else(|| end_of_value(after, b'}'))?;
        let (value, after) = after.split_at(end);
        match name {
            Some(name) => {
                entries.insert(name, value);
            }
            None if is_text => unnamed += 1,
            None => return None,
        }
        if after == "}" {
            return Some((entries, unnamed));
        }
        rest = after.strip_prefix(',')?;
    }
}

/// Where a byte stands for the first time outside of texts, lists and objects.
fn end_of_value(text: &str, byte: u8) -> Option<usize> {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (at, found) in text.bytes().enumerate() {
        match found {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            _ if depth == 0 && found == byte => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// An instant as Python's `isoformat` writes it, and whether it is one of local time.
pub(super) fn instant(text: &str) -> Option<(Timestamp, bool)> {
    let (instant, is_local) = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(instant) => (instant, false),
        Err(_) => (
            OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).ok()?,
            true,
        ),
    };
    let millis = instant.unix_timestamp_nanos() / 1_000_000;
    let millis = u64::try_from(millis).unwrap_or(0);
    Some((Timestamp::from_millis(millis), is_local))
}
