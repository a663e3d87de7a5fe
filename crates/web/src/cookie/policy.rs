//! The cookie that carries the token: writing it, and finding it among others.

use std::fmt::Write as _;
use std::time::Duration;

use cloakroom_core::engine::{TOKEN_BYTES_MAX, Token};
use cloakroom_core::{Error, ErrorKind};

use super::chunks::{CHUNK_BYTES, ChunkIndex, Chunks, head};
use super::{COOKIE_AGE_MAX, COOKIE_BYTES_MAX, ClientState, CookiePolicyBuilder, SameSite};
use crate::Presented;

/// Bytes of a cookie that all policies have together, beside names, paths and tokens.
const FIXED_BYTES: usize = 112;

/// How the session cookie is named, set and removed.
///
/// The default is as strict as a session cookie can be:
///
/// ```
/// use cloakroom_web::{CookiePolicy, ClientState};
///
/// let policy = CookiePolicy::default();
/// assert_eq!(policy.name(), "__Host-session");
/// assert_eq!(
///     policy.removal(ClientState::default()),
///     ["__Host-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"]
/// );
/// ```
///
/// Attributes are written in this order: Path, Domain, Max-Age, Secure,
/// HttpOnly, SameSite, Partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) domain: Option<String>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) same_site: SameSite,
    pub(super) partitioned: bool,
    pub(super) bytes_max: usize,
    pub(super) chunks_max: usize,
    pub(super) clears_site_data: bool,
    /// The policies that it replaces, none of which replaces another.
    pub(super) formers: Vec<CookiePolicy>,
    /// Bytes of the longest token; see [`measure`](Self::measure).
    token_bytes_max: usize,
}

impl Default for CookiePolicy {
    /// `__Host-session`, Secure, HttpOnly, SameSite=Lax, Path=/.
    fn default() -> Self {
        let mut policy = Self {
            name: "__Host-session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
            bytes_max: COOKIE_BYTES_MAX,
            chunks_max: 1,
            clears_site_data: false,
            formers: Vec::new(),
            token_bytes_max: 0,
        };
        policy.measure();
        policy
    }
}

impl CookiePolicy {
    /// A policy of one's own, beginning with the default.
    #[must_use]
    pub fn builder() -> CookiePolicyBuilder {
        CookiePolicyBuilder::new()
    }

    /// For plain http while developing: neither Secure nor a prefix. The default policy
    /// works over plain http in browsers that treat `localhost` and `127.0.0.1` as
    /// secure (Chromium and Firefox do); use this one for Safari, or from another
    /// machine. An engine built with it logs a warning.
    #[must_use]
    pub fn loopback_http() -> Self {
        Self {
            name: "session".to_owned(),
            secure: false,
            ..Self::default()
        }
    }

    /// Reads the cookies of a former policy too, so that nobody is logged out by another
    /// name, prefix, path or domain. Where a session opens by a former cookie, the answer
    /// to the next page sets the present one and removes the former one with the
    /// attributes it had. Answers to scripts leave both: they may arrive after a login. So
    /// may a page that was asked for before the login and writes nothing, and then the
    /// visitor logs in once more.
    ///
    /// The present policy needs another name, since a request does not say which of two
    /// cookies of one name it carries. The name is the engine's site where none is given,
    /// so the engine must be told the site that it had:
    ///
    /// ```
    /// use cloakroom_core::Site;
    /// use cloakroom_web::{CookiePolicy, Prefix};
    ///
    /// let former = CookiePolicy::builder().prefix(Prefix::None).name("sid").path("/shop");
    /// let present = CookiePolicy::default().replaces(former.build()?);
    /// # fn builder(store: cloakroom_core::engine::AnyStore, present: CookiePolicy)
    /// # -> Result<cloakroom_web::Engine, cloakroom_core::Error> {
    /// let engine = cloakroom_web::Engine::builder(store)
    ///     .cookie(present)
    ///     .site(Site::new("sid")?) // stays, also when the former policy is forgotten
    ///     .build()?;
    /// # Ok(engine)
    /// # }
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// While it is read, a former cookie is as safe as it was: without the `__Host-`
    /// prefix, another host of the domain can plant one for a visitor who has no session.
    ///
    /// A cookie store binds the name into each cookie: tell it the former one as well, by
    /// `CookieStoreBuilder::replaces`. Take a former policy out when its cookies have
    /// aged: after the absolute lifetime of the sessions.
    #[must_use]
    pub fn replaces(mut self, mut former: Self) -> Self {
        self.formers.append(&mut former.formers);
        self.formers.push(former);
        self
    }

    /// The full name, with its prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the cookie travels over https alone.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The other choices, as an audit looks at them.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    pub(crate) fn is_http_only(&self) -> bool {
        self.http_only
    }

    pub(crate) fn same_site(&self) -> SameSite {
        self.same_site
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) fn clears_site_data(&self) -> bool {
        self.clears_site_data
    }

    /// Bytes of the longest token that can be sent whatever its age. The engine
    /// measures each token by it, right after the store has made it.
    #[must_use]
    pub fn token_bytes_max(&self) -> usize {
        self.token_bytes_max
    }

    /// The `Set-Cookie` values that hand out a token: one, or one for each of its
    /// chunks where that is [opted in](CookiePolicyBuilder::chunks_max), and the
    /// removal of what else the client holds. Without an age the cookies end with
    /// the browser; ages are whole seconds, one at least.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where that would take a value longer than the
    /// policy's [`bytes_max`](CookiePolicyBuilder::bytes_max) or more than
    /// [`chunks_max`](CookiePolicyBuilder::chunks_max) of them,
    /// [`ErrorKind::Corrupt`] where the token holds characters that a cookie
    /// cannot.
    pub fn set(
        &self,
        token: &Token,
        age: Option<Duration>,
        state: ClientState,
    ) -> Result<Vec<String>, Error> {
        let token = token.expose();
        // No early return: tokens are random, so a branch for each byte would be
        // mispredicted.
        if !token
            .bytes()
            .fold(true, |fits, byte| fits & is_cookie_octet(byte))
        {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store made a token that does not fit into a cookie",
            ));
        }
        let age = age.map(|age| age.clamp(Duration::from_secs(1), COOKIE_AGE_MAX).as_secs());
        let whole = self.format(ChunkIndex::WHOLE, "", token, age);
        if whole.len() <= self.bytes_max {
            let mut texts = vec![whole];
            texts.extend(self.removals(state.without(ChunkIndex::WHOLE)));
            return Ok(texts);
        }
        let attributes_bytes = whole.len() - token.len();
        let room = self.room(attributes_bytes);
        if token.len() > room {
            return Err(self.too_large(token.len(), room));
        }
        let part_bytes = self.bytes_max - attributes_bytes - CHUNK_BYTES;
        let count = token.len().div_ceil(part_bytes);
        let head = head(token, count);
        let mut texts = Vec::with_capacity(count + 1);
        // A parallel request may have set the whole cookie, which would win over chunks.
        let mut stale = state.with(ChunkIndex::WHOLE);
        let mut rest = token;
        for index in ChunkIndex::chunks(count) {
            let (part, more) = rest.split_at(part_bytes.min(rest.len()));
            texts.push(self.format(index, &head, part, age));
            stale = stale.without(index);
            rest = more;
        }
        texts.extend(self.removals(stale));
        Ok(texts)
    }

    /// The `Set-Cookie` values that remove what the client holds: the same name,
    /// path, domain and flags, or browsers would keep it. The cookie of the
    /// policy's name is always among them and, where chunks are opted in, the
    /// first chunk: a parallel request may have set them, and without the first
    /// no others are joined.
    #[must_use]
    pub fn removal(&self, state: ClientState) -> Vec<String> {
        let mut gone = state.with(ChunkIndex::WHOLE);
        if self.chunks_max > 1 {
            gone = gone.with(ChunkIndex::FIRST_CHUNK);
        }
        self.removals(gone).collect()
    }

    /// # Errors
    /// [`ErrorKind::Misconfigured`] where one cannot be told from the former ones.
    pub(crate) fn check_formers(&self, names_site: bool) -> Result<(), Error> {
        let refuse = |why| Err(Error::new(ErrorKind::Misconfigured, why));
        if self.formers.iter().any(|former| former.name == self.name) {
            return refuse(
                "a cookie policy needs another name than one that it replaces: no request says \
                 which of two cookies of one name it carries",
            );
        }
        if !self.formers.is_empty() && !names_site {
            return refuse(
                "a policy that replaces another needs the engine's site: give `site` the name of \
                 the former cookie, or the site that the engine had, or everybody is logged out",
            );
        }
        Ok(())
    }

    /// Whether a cookie of this name is this policy's, or one that it replaces.
    pub(crate) fn uses_name(&self, name: &str) -> bool {
        self.name == name || self.formers.iter().any(|former| former.name == name)
    }

    /// What a request holds of the cookies of former policies.
    fn find_former(
        &self,
        headers: &[&[u8]],
        is_well_formed: &impl Fn(&str) -> bool,
        presented: &mut Presented,
    ) {
        for (at, former) in self.formers.iter().enumerate() {
            let found = former.find_own(headers.iter().copied(), is_well_formed);
            if found.state != ClientState::default() {
                presented.formers.push((at, found.state));
            }
            presented.count += found.count;
            presented.former_tokens.extend(found.token);
            presented.former_tokens.extend(found.others);
        }
    }

    /// The `Set-Cookie` values that remove the cookies of former policies.
    pub(crate) fn former_removals(
        &self,
        presented: &[(usize, ClientState)],
    ) -> impl Iterator<Item = String> {
        let formers = presented.iter().filter_map(|(at, state)| {
            let former = self.formers.get(*at)?;
            Some(former.removals(*state))
        });
        formers.flatten()
    }

    pub(crate) fn check_length(&self, token: &Token) -> Result<(), Error> {
        let (bytes, room) = (token.expose().len(), self.token_bytes_max());
        match bytes > room {
            true => Err(self.too_large(bytes, room)),
            false => Ok(()),
        }
    }

    fn removals(&self, state: ClientState) -> impl Iterator<Item = String> {
        state
            .indices()
            .map(|index| self.format(index, "", "", Some(0)))
    }

    /// Works out once how long a token may be. The attributes fit into a cookie.
    pub(super) fn measure(&mut self) {
        let attributes_bytes = self.attributes_bytes(Some(COOKIE_AGE_MAX.as_secs()));
        self.token_bytes_max = self.room(attributes_bytes).min(TOKEN_BYTES_MAX);
    }

    /// Bytes of the longest token that fits beside these attributes.
    fn room(&self, attributes_bytes: usize) -> usize {
        let whole = self.bytes_max - attributes_bytes;
        match self.chunks_max {
            1 => whole,
            chunks => chunks * (whole - CHUNK_BYTES),
        }
    }

    fn too_large(&self, token_bytes: usize, room: usize) -> Error {
        let Self {
            chunks_max,
            bytes_max,
            ..
        } = self;
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "the session is a token of {token_bytes} bytes, and the cookie policy carries \
                 {room}: its chunks_max is {chunks_max}, of bytes_max = {bytes_max} on the wire; \
                 keep less in the session, allow more chunks, or use a store on the server"
            ),
        )
    }

    /// Bytes of a cookie beside its token.
    pub(super) fn attributes_bytes(&self, age_secs: Option<u64>) -> usize {
        self.format(ChunkIndex::WHOLE, "", "", age_secs).len()
    }

    fn format(&self, index: ChunkIndex, head: &str, part: &str, age_secs: Option<u64>) -> String {
        let suffix = index.suffix();
        let (name, path) = (&*self.name, &*self.path);
        let domain_bytes = self.domain.as_ref().map_or(0, |domain| domain.len());
        let varying = name.len() + head.len() + part.len() + path.len() + domain_bytes;
        let mut text = String::with_capacity(varying + FIXED_BYTES);
        let _ = write!(text, "{name}{suffix}={head}{part}; Path={path}");
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        if let Some(secs) = age_secs {
            let _ = write!(text, "; Max-Age={secs}");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        if self.partitioned {
            text.push_str("; Partitioned");
        }
        text
    }

    /// What the `Cookie` headers of a request hold for this policy and those that it
    /// replaces. A value may hold any bytes; of each policy only tokens that
    /// `is_well_formed` says could be ones are taken, four at most, and whole ones before
    /// one in chunks.
    pub fn find<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        is_well_formed: impl Fn(&str) -> bool,
    ) -> Presented {
        if self.formers.is_empty() {
            return self.find_own(headers, &is_well_formed);
        }
        let headers: Vec<&[u8]> = headers.collect();
        let mut presented = self.find_own(headers.iter().copied(), &is_well_formed);
        self.find_former(&headers, &is_well_formed, &mut presented);
        presented
    }

    fn find_own<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        is_well_formed: &impl Fn(&str) -> bool,
    ) -> Presented {
        let mut presented = Presented::default();
        let mut chunks = Chunks::default();
        let pairs = headers.flat_map(|header| header.split(|byte| *byte == b';'));
        for pair in pairs {
            let Some(rest) = pair.trim_ascii().strip_prefix(self.name.as_bytes()) else {
                continue;
            };
            let Some(value) = rest.strip_prefix(b"=") else {
                if self.chunks_max > 1
                    && let Some((suffix, value)) = split_pair(rest)
                    && let Some(index) = chunks.keep(suffix, unquoted(value))
                {
                    presented.state = presented.state.with(index);
                }
                continue;
            };
            presented.state = presented.state.with(ChunkIndex::WHOLE);
            presented.count += 1;
            let value = std::str::from_utf8(unquoted(value)).ok();
            if let Some(value) = value.filter(|value| is_well_formed(value)) {
                presented.keep(Token::copied(value));
            }
        }
        presented.count += chunks.tokens();
        if let Some(token) = chunks.join(is_well_formed) {
            presented.keep(token);
        }
        presented
    }
}

fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..at], &pair[at + 1..]))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// RFC 6265: printable ASCII without quotes, comma, semicolon, backslash.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prefix;

    fn found(header: &[u8]) -> (Option<String>, usize) {
        let policy = CookiePolicy::loopback_http();
        let presented = policy.find([header].into_iter(), |token| token.starts_with("ok"));
        let token = presented.token.map(|token| token.expose().to_owned());
        (token, presented.count)
    }

    #[test]
    fn the_first_well_formed_cookie_of_the_name_is_found() {
        for (header, token, count) in [
            (&b""[..], None, 0),
            (b"session=ok1", Some("ok1"), 1),
            (b"a=b; session=ok1;c=d", Some("ok1"), 1),
            (b" session=\"ok1\" ", Some("ok1"), 1),
            (b"session=bad; session=ok2; session=ok3", Some("ok2"), 3),
            (b"session=", None, 1),
            (b"session", None, 0),
            (b"Session=ok1; xsession=ok1; session2=ok1", None, 0),
            (b"session=ok\xff", None, 1),
            (b";;;=;session=ok=1;", Some("ok=1"), 1),
        ] {
            assert_eq!(
                found(header),
                (token.map(str::to_owned), count),
                "{header:?}"
            );
        }
    }

    #[test]
    fn set_cookie_is_this_text_byte_for_byte() {
        let token = Token::new("TOKEN");
        let hour = Some(Duration::from_millis(3_600_999));
        let build = |builder: CookiePolicyBuilder| builder.build().unwrap();
        let b = CookiePolicy::builder;
        for (policy, age, text) in [
            (
                CookiePolicy::default(),
                hour,
                "__Host-session=TOKEN; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                CookiePolicy::default(),
                None,
                "__Host-session=TOKEN; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                CookiePolicy::loopback_http(),
                Some(Duration::ZERO),
                "session=TOKEN; Path=/; Max-Age=1; HttpOnly; SameSite=Lax",
            ),
            (
                build(
                    b().name("sid")
                        .prefix(Prefix::Secure)
                        .domain("example.org")
                        .path("/app")
                        .same_site(SameSite::None)
                        .partitioned()
                        .readable_by_scripts(),
                ),
                Some(Duration::MAX),
                "__Secure-sid=TOKEN; Path=/app; Domain=example.org; Max-Age=34560000; Secure; \
                 SameSite=None; Partitioned",
            ),
            (
                build(b().prefix(Prefix::HostHttp)),
                None,
                "__Host-Http-session=TOKEN; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                build(
                    b().prefix(Prefix::None)
                        .insecure_over_http()
                        .same_site(SameSite::Strict),
                ),
                hour,
                "session=TOKEN; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict",
            ),
        ] {
            assert_eq!(
                policy.set(&token, age, ClientState::default()).unwrap(),
                [text]
            );
            let [removal] = &policy.removal(ClientState::default())[..] else {
                panic!("one cookie");
            };
            assert!(removal.contains("=; ") && removal.contains("; Max-Age=0"));
            // Everything else is the same, or the browser keeps the cookie.
            let strip = |text: &str| {
                let mut parts: Vec<_> = text.split("; ").map(str::to_owned).collect();
                let name = parts[0].split('=').next().unwrap().to_owned();
                parts[0] = name;
                parts.retain(|part| !part.starts_with("Max-Age"));
                parts
            };
            assert_eq!(strip(removal), strip(text));
        }
    }

    #[test]
    fn the_size_limit_is_met_on_the_wire() {
        let set = |policy: &CookiePolicy, token: &str| {
            policy.set(&Token::new(token), None, ClientState::default())
        };
        let policy = CookiePolicy::default();
        let empty = set(&policy, "").unwrap()[0].len();
        let fits = "x".repeat(COOKIE_BYTES_MAX - empty);
        let texts = set(&policy, &fits).unwrap();
        assert_eq!((texts.len(), texts[0].len()), (1, COOKIE_BYTES_MAX));
        let error = set(&policy, &format!("{fits}x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let small = CookiePolicy::builder().bytes_max(200).build().unwrap();
        let fits = "x".repeat(200 - empty);
        assert!(set(&small, &fits).is_ok());
        let error = set(&small, &format!("{fits}x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(CookiePolicy::builder().bytes_max(4_097).build().is_err());
        for bad in ["a;b", "a b", "a\"b", "a\r\nb", "é"] {
            let error = set(&policy, bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
