//! What lies between a client and a server, and fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A way to the server that can lose what is sent or answered.
pub(crate) struct Proxy {
    port: u16,
    /// Cuts the connection in place of the next answer.
    pub(crate) cut: Arc<AtomicBool>,
    /// Passes nothing on, and says nothing.
    pub(crate) mute: Arc<AtomicBool>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::default(),
            mute: Arc::default(),
            requests: Arc::default(),
        };
        let (cut, mute) = (proxy.cut.clone(), proxy.mute.clone());
        let requests = proxy.requests.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (cut, mute) = (cut.clone(), mute.clone());
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
                            to_client.write_all(&buffer[..read]).await.unwrap();
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
