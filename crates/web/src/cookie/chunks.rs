//! A token in several cookies, `NAME.1`, `NAME.2` and so on, and back in one.
//!
//! Each value is its head, `COUNT.CRC.`, and its part of the token. The CRC-32
//! is the whole token's, so that the chunks of two tokens are never joined: a
//! browser can hold a mixture. The CRC stops no forger: whether a token is genuine, the
//! store decides.

use cloakroom_core::engine::{TOKEN_BYTES_MAX, Token};

use super::COOKIE_CHUNKS_MAX;

/// The suffix that each cookie adds to the policy's name; none for a whole token.
const SUFFIXES: [&str; COOKIE_CHUNKS_MAX + 1] = ["", ".1", ".2", ".3", ".4"];

const HEAD_BYTES: usize = "4.01234567.".len();

/// Bytes that a chunk needs beside its part of the token, compared with a whole cookie.
pub(super) const CHUNK_BYTES: usize = ".4".len() + HEAD_BYTES;

/// How many chunks of one request are looked at: each name four times, as a
/// browser with cookies for several paths might send them.
const SEEN_MAX: usize = 4 * COOKIE_CHUNKS_MAX;

/// One of the cookies that can carry a policy's token, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkIndex(usize);

impl ChunkIndex {
    /// The cookie of the policy's own name.
    pub(super) const WHOLE: Self = Self(0);
    /// The first chunk: without it, no others are joined.
    pub(super) const FIRST_CHUNK: Self = Self(1);

    pub(super) fn chunks(count: usize) -> impl Iterator<Item = Self> {
        (1..=count).map(Self)
    }

    pub(super) fn suffix(self) -> &'static str {
        SUFFIXES[self.0]
    }

    fn bit(self) -> u8 {
        1 << self.0
    }
}

/// Which of a policy's cookies a client holds: the one of its name, and chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientState(u8);

impl ClientState {
    pub(super) fn with(self, index: ChunkIndex) -> Self {
        Self(self.0 | index.bit())
    }

    pub(super) fn without(self, index: ChunkIndex) -> Self {
        Self(self.0 & !index.bit())
    }

    /// The indices that it holds: the whole cookie first, then the chunks in order.
    pub(super) fn indices(self) -> impl Iterator<Item = ChunkIndex> {
        let all = (0..=COOKIE_CHUNKS_MAX).map(ChunkIndex);
        all.filter(move |index| self.0 & index.bit() != 0)
    }
}

/// What the value of each chunk of a token begins with.
pub(super) fn head(token: &str, count: usize) -> String {
    format!("{count}.{:08x}.", crc32fast::hash(token.as_bytes()))
}

/// The chunks that a request presented. Without any, nothing is allocated.
#[derive(Default)]
pub(super) struct Chunks<'h> {
    seen: Vec<Chunk<'h>>,
    /// Cookies with a chunk's name that are no chunk, or one too many.
    alien: usize,
}

struct Chunk<'h> {
    index: ChunkIndex,
    head: &'h [u8; HEAD_BYTES],
    part: &'h [u8],
}

impl<'h> Chunk<'h> {
    fn read(index: ChunkIndex, value: &'h [u8]) -> Option<Self> {
        let (head, part) = value.split_first_chunk()?;
        Some(Self { index, head, part })
    }

    /// How many there should be.
    fn count(&self) -> Option<usize> {
        let count = usize::from(self.head[0].checked_sub(b'0')?);
        (2..=COOKIE_CHUNKS_MAX).contains(&count).then_some(count)
    }
}

impl<'h> Chunks<'h> {
    /// Keeps a pair whose name is the policy's and a suffix. Answers which one.
    pub(super) fn keep(&mut self, suffix: &[u8], value: &'h [u8]) -> Option<ChunkIndex> {
        let mut indices = ChunkIndex::chunks(COOKIE_CHUNKS_MAX);
        let index = indices.find(|index| index.suffix().as_bytes() == suffix)?;
        match Chunk::read(index, value) {
            Some(chunk) if self.seen.len() < SEEN_MAX => self.seen.push(chunk),
            _ => self.alien += 1,
        }
        Some(index)
    }

    /// How many tokens these are chunks of, well formed or not.
    pub(super) fn tokens(&self) -> usize {
        let first_of_its_head = self.seen.iter().enumerate().filter(|(at, chunk)| {
            let mut before = self.seen[..*at].iter();
            before.all(|other| other.head != chunk.head)
        });
        self.alien + first_of_its_head.count()
    }

    /// The first token that is whole and well formed. The order of the pairs
    /// matters only among several.
    pub(super) fn join(&self, is_well_formed: impl Fn(&str) -> bool) -> Option<Token> {
        let mut firsts = self
            .seen
            .iter()
            .filter(|chunk| chunk.index == ChunkIndex::FIRST_CHUNK);
        firsts.find_map(|first| {
            let token = self.whole(first)?;
            is_well_formed(token.expose()).then_some(token)
        })
    }

    fn whole(&self, first: &Chunk<'h>) -> Option<Token> {
        let count = first.count()?;
        let mut parts = [&[][..]; COOKIE_CHUNKS_MAX];
        for (part, index) in parts.iter_mut().zip(ChunkIndex::chunks(count)) {
            let mut of_this_token = self.seen.iter().filter(|chunk| chunk.head == first.head);
            *part = of_this_token.find(|chunk| chunk.index == index)?.part;
        }
        let length = parts.iter().map(|part| part.len()).sum();
        if length > TOKEN_BYTES_MAX {
            return None;
        }
        // The capacity is exact, so that growing leaves no copy of a secret behind.
        let mut text = String::with_capacity(length);
        for part in parts {
            text.push_str(std::str::from_utf8(part).ok()?);
        }
        let token = Token::new(text);
        let is_this = head(token.expose(), count).as_bytes() == first.head;
        is_this.then_some(token)
    }
}

#[cfg(test)]
mod tests;
