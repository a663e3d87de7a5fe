//! What lies between a client and a server, and fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A way to the server that can lose what is sent or answered.
pub(crate) struct Proxy {
    port: u16,
    /// Cuts the connection in place of the next answer.
    pub(crate) cut: Arc<AtomicBool>,
    /// Passes nothing on, and says nothing.
    pub(crate) mute: Arc<AtomicBool>,
    /// Passes on what is answered, and no message of a channel.
    pub(crate) swallow: Arc<AtomicBool>,
    /// The port that the next connection leads to.
    pub(crate) to: Arc<AtomicU16>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::default(),
            mute: Arc::default(),
            swallow: Arc::default(),
            to: Arc::new(AtomicU16::new(to)),
            requests: Arc::default(),
        };
        let (cut, mute) = (proxy.cut.clone(), proxy.mute.clone());
        let requests = proxy.requests.clone();
        let (swallow, to) = (proxy.swallow.clone(), proxy.to.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = to.load(Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (cut, mute) = (cut.clone(), mute.clone());
                let swallow = swallow.clone();
                let requests = requests.clone();
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let there = async {
                        let mut buffer = vec![0; 1 << 16];
                        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                            if buffer[..read]
                                .windows(4)
                                .any(|w| w == b"EVAL" || w == b"\nGET")
                            {
                                requests.fetch_add(1, Ordering::SeqCst);
                            }
                            if mute.load(Ordering::SeqCst) {
                                continue;
                            }
                            to_server.write_all(&buffer[..read]).await.unwrap();
                        }
                    };
                    let back = async {
                        let mut buffer = vec![0; 1 << 16];
                        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                            if cut.swap(false, Ordering::SeqCst) {
                                return;
                            }
                            let passed_on = match swallow.load(Ordering::SeqCst) {
                                true => without_messages(&buffer[..read]),
                                false => buffer[..read].to_vec(),
                            };
                            to_client.write_all(&passed_on).await.unwrap();
                        }
                    };
                    tokio::select! {
                        () = there => {}
                        () = back => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// What a server sends under RESP3, without the messages of channels. On a channel as quiet
/// as a test's, a message comes whole.
fn without_messages(sent: &[u8]) -> Vec<u8> {
    let begin = b">3\r\n$7\r\nmessage\r\n";
    let Some(at) = sent.windows(begin.len()).position(|part| part == begin) else {
        return sent.to_vec();
    };
    // The channel and the payload, each a length in a line and the bytes in another.
    let mut rest = &sent[at + begin.len()..];
    for _ in 0..4 {
        let end = rest.windows(2).position(|part| part == b"\r\n");
        rest = end.map_or(&[], |end| &rest[end + 2..]);
    }
    [&sent[..at], &without_messages(rest)].concat()
}
