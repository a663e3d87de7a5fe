//! Cookies and stored bytes at their worst: no panic, no abort, and the right outcome
//! each time.

use std::sync::{Arc, Mutex};

use cloakroom::engine::{SessionKey, TOKEN_BYTES_MAX};
use cloakroom::session::Session;
use cloakroom::store::{Data, Revision, Stored};
use cloakroom::{Engine, Error, ErrorKind, Site};
use cloakroom_testkit::{Call, InterceptedStore, MapStore, key, sample};
use cloakroom_tests::in_process::{COOKIE, TestApp};

// Cookies.

async fn app() -> TestApp {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    app
}

#[tokio::test]
async fn a_cookie_that_cannot_be_a_token_is_a_fresh_session_without_io() {
    let app = app().await;
    let good = app.token().unwrap();
    let long = "A".repeat(TOKEN_BYTES_MAX + 1);
    let cut = &good[..42];
    let pair = |value: &[u8]| [COOKIE.as_bytes(), b"=", value].concat();
    let values: [&[u8]; 9] = [
        b"",
        cut.as_bytes(),
        long.as_bytes(),
        b"\xff\xfe\x00",
        b"=====",
        b"\"",
        b"../../../etc/passwd",
        "ключ".as_bytes(),
        &[b'A'; 44],
    ];
    for value in values {
        let header = pair(value);
        let answer = app
            .request(&[&header], 200, async |s| {
                assert!(s.is_empty() && !s.contains("n"))
            })
            .await;
        assert_eq!((answer.status, answer.calls), (200, vec![]));
        assert!(answer.set_cookie.unwrap().contains("Max-Age=0"));
    }
}

#[tokio::test]
async fn of_duplicated_cookies_the_first_that_opens_a_session_counts() {
    let app = app().await;
    let good = app.token().unwrap();
    let unknown = key().to_token().expose().to_owned();
    let line = |tokens: &[&str]| {
        let pairs: Vec<_> = tokens
            .iter()
            .map(|token| format!("{COOKIE}={token}"))
            .collect();
        pairs.join("; ")
    };
    for (tokens, opens) in [
        (&["bad", &good][..], true),
        (&[&good, "bad"], true),
        (&[&good, &unknown], true),
        (&[&unknown, &good], true),
        (&["bad", &unknown, &good], true),
        (&["bad", "worse"], false),
    ] {
        // In one header, and in a header each.
        let one = line(tokens);
        let each: Vec<_> = tokens.iter().map(|token| line(&[token])).collect();
        let each: Vec<&[u8]> = each.iter().map(String::as_bytes).collect();
        for headers in [vec![one.as_bytes()], each] {
            let answer = app
                .request(&headers, 200, async |s| assert_eq!(s.contains("n"), opens))
                .await;
            assert_eq!(answer.status, 200, "{tokens:?}");
        }
    }
}

#[tokio::test]
async fn a_token_is_looked_at_up_to_its_limit_and_no_further() {
    let app = TestApp::with(|builder| builder.token_bytes_max(43));
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    assert_eq!(app.number("n").await, Some(1));
    let shorter = Engine::builder(app.store.clone())
        .token_bytes_max(42)
        .build()
        .unwrap();
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let exchange = shorter.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert!(!session.contains("n"));
}

// Stored bytes.

/// A request whose session is read from a frame that the test has damaged.
struct Damage {
    engine: Engine,
    key: SessionKey,
    frame: Vec<u8>,
    /// What the store reads at the key.
    stored_frame: Arc<Mutex<Vec<u8>>>,
}

impl Damage {
    fn new(data: Data) -> Self {
        let mut record = sample("");
        record.data = data;
        let frame = record.at_revision(Revision::FIRST).encode().unwrap();
        let key = key().of_site(&Site::new(COOKIE).unwrap());
        let stored_frame = Arc::new(Mutex::new(Vec::new()));
        let (digest, read) = (key.digest(), stored_frame.clone());
        let map = Arc::new(MapStore::default());
        let store = InterceptedStore::from_fn(map.clone(), move |operation, work| {
            if let Call::Update | Call::Rotate | Call::Delete = operation.call {
                unreachable!("these tests begin new sessions or read");
            }
            if (operation.call, operation.digest) == (Call::Load, Some(digest)) {
                match Stored::decode(&read.lock().unwrap()) {
                    Ok(stored) => map.plant(digest, stored),
                    Err(error) => return Box::pin(async { Err(error) }),
                }
            }
            work
        });
        Self {
            engine: Engine::new(store),
            key,
            frame,
            stored_frame,
        }
    }

    /// What a request that reads `n` comes to, over these stored bytes: the
    /// status, the value, and whether its cookie was removed.
    async fn request(&self, frame: &[u8]) -> (u16, Result<Option<u64>, ErrorKind>, bool) {
        self.request_as(frame, |session| session.get("n")).await
    }

    /// As [`request`](Self::request), reading it another way.
    async fn request_as<T>(
        &self,
        frame: &[u8],
        read: impl FnOnce(&Session) -> Result<Option<T>, Error>,
    ) -> (u16, Result<Option<T>, ErrorKind>, bool) {
        *self.stored_frame.lock().unwrap() = frame.to_vec();
        let cookie = format!("{COOKIE}={}", self.key.to_token().expose());
        let exchange = self.engine.exchange();
        let opened = exchange.open([cookie.as_bytes()].into_iter()).await;
        let Ok(session) = opened else {
            let closing = exchange.close(500).await;
            return (500, Ok(None), !closing.token_headers().is_empty());
        };
        let value = read(&session).map_err(|error| error.kind());
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none());
        (200, value, !closing.token_headers().is_empty())
    }
}

/// `n = 1`, as a session writes it.
fn one() -> Data {
    Data::from_bytes([1, 1, b'n', 1, 0x41])
}

#[tokio::test]
async fn a_record_cut_at_any_length_or_with_any_bit_flipped_is_a_fresh_session() {
    let damage = Damage::new(one());
    assert_eq!(
        damage.request(&damage.frame).await,
        (200, Ok(Some(1)), false)
    );
    let fresh = (200, Ok(None), true);
    for end in 0..damage.frame.len() {
        assert_eq!(
            damage.request(&damage.frame[..end]).await,
            fresh,
            "cut at {end}"
        );
    }
    for bit in 0..damage.frame.len() * 8 {
        let mut flipped = damage.frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(damage.request(&flipped).await, fresh, "bit {bit}");
    }
}

#[tokio::test]
async fn entries_damaged_under_an_intact_frame_are_a_fresh_session_or_a_typed_error() {
    let data = one();
    for at in 0..data.as_bytes().len() {
        for byte in 0..=255 {
            let mut bytes = data.as_bytes().to_vec();
            bytes[at] = byte;
            let damage = Damage::new(Data::from_bytes(bytes));
            let (status, value, _) = damage.request(&damage.frame).await;
            assert_eq!(status, 200);
            if let Err(kind) = value {
                assert!(
                    matches!(kind, ErrorKind::Corrupt | ErrorKind::Mismatch),
                    "{kind}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_a_500_with_the_cookie_kept() {
    let damage = Damage::new(one());
    let mut frame = damage.frame.clone();
    let end = frame.len() - 4;
    frame[0] += 1;
    let crc = crc32fast::hash(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(damage.request(&frame).await, (500, Ok(None), false));
}

#[tokio::test]
async fn a_stored_value_of_100_000_levels_is_a_typed_error_and_no_overflow() {
    // Lists of one: the kind of a list, which holds its length.
    let mut value = [0xc1_u8].repeat(100_000);
    value.push(0);
    let mut bytes = vec![1, 1, b'n', 252];
    bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&value);
    let damage = Damage::new(Data::from_bytes(bytes));
    let read = |session: &Session| session.get_value("n");
    let (status, value, removed) = damage.request_as(&damage.frame, read).await;
    assert_eq!(
        (status, value, removed),
        (200, Err(ErrorKind::TooLarge), false)
    );
    let no_number = damage.request(&damage.frame).await;
    assert_eq!(no_number, (200, Err(ErrorKind::Mismatch), false));
}

#[tokio::test]
async fn a_value_of_100_000_levels_is_refused_when_it_is_inserted() {
    #[derive(serde::Serialize)]
    struct Chain(Option<Box<Chain>>);

    impl Drop for Chain {
        /// One by one: dropping the nest in one go would overflow the stack.
        fn drop(&mut self) {
            let mut next = self.0.take();
            while let Some(mut chain) = next {
                next = chain.0.take();
            }
        }
    }

    let mut chain = Chain(None);
    for _ in 0..100_000 {
        chain = Chain(Some(Box::new(chain)));
    }
    let app = app().await;
    let answer = app
        .visit(async |s| {
            let error = s.insert("deep", &chain).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        })
        .await;
    assert_eq!((answer.status, answer.calls.len()), (200, 1));
}

#[tokio::test]
async fn a_value_of_the_deepest_nesting_there_is_can_be_read_on_a_small_stack() {
    let levels = cloakroom::session::NESTING_DEPTH_CEILING;
    let limits = cloakroom::Limits::default().with_nesting_depth_max(levels + 1);
    let app = TestApp::with(|builder| builder.limits(limits));
    let nested = |levels: usize| {
        let mut json = serde_json::Value::Null;
        for _ in 0..levels {
            json = serde_json::Value::Array(vec![json]);
        }
        json
    };
    app.visit(async |s| {
        s.insert("deep", nested(levels)).unwrap();
        let error = s.insert("deeper", nested(levels + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    })
    .await;
    app.visit(async |s| {
        let deep: serde_json::Value = s.get("deep").unwrap().unwrap();
        assert_eq!(deep, nested(levels));
    })
    .await;
}
