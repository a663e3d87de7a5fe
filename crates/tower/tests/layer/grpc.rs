//! A service of tonic: its outcome is its gRPC status.

use std::convert::Infallible;

use bytes::{Buf as _, BufMut as _, Bytes};
use cloakroom_core::session::Session;
use cloakroom_testkit::Fault;
use cloakroom_tower::{Engine, RequestSession as _, SessionLayer};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Store, begin, cookies, look};

/// Messages of one byte.
#[derive(Default)]
struct Byte;

impl Codec for Byte {
    type Encode = u8;
    type Decode = u8;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Byte {
    type Item = u8;
    type Error = Status;

    fn encode(&mut self, item: u8, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_u8(item);
        Ok(())
    }
}

impl Decoder for Byte {
    type Item = u8;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<u8>, Status> {
        Ok(from.has_remaining().then(|| from.get_u8()))
    }
}

/// Counts, and answers with the code that it is asked for.
#[derive(Clone)]
struct Count;

impl UnaryService<u8> for Count {
    type Response = u8;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<u8>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<u8>) -> Self::Future {
        Box::pin(async move {
            let parts = (request.extensions(), request.metadata().as_ref());
            let session = parts.session().await;
            let session = session.map_err(|error| Status::internal(error.to_string()))?;
            session.update("n", |n: &mut u64| *n += 1).unwrap();
            match *request.get_ref() {
                0 => Ok(tonic::Response::new(1)),
                code => Err(Status::new(Code::from_i32(code.into()), "as asked")),
            }
        })
    }
}

async fn call(engine: &Engine, cookie: &str, code: u8) -> Response<Body> {
    let service = service_fn(async |request: Request<Full<Bytes>>| {
        let response = Grpc::new(Byte).unary(Count, request).await;
        Ok::<_, Infallible>(response)
    });
    let service = SessionLayer::new(engine.clone()).layer(service);
    let message = Full::from(vec![0, 0, 0, 0, 1, code]);
    let request = Request::post("/counter.Counter/Count")
        .header("content-type", "application/grpc")
        .header("cookie", cookie)
        .body(message);
    service.oneshot(request.unwrap()).await.unwrap()
}

fn n(session: &Session) -> Option<u64> {
    session.get("n").unwrap()
}

#[tokio::test]
async fn a_call_that_the_server_failed_changes_nothing() {
    let engine = Engine::new(Store::default());
    let cookie = begin(&engine, |session| session.insert("n", 0).unwrap()).await;
    let mut counted = 0;
    for code in 0..=16 {
        let response = call(&engine, &cookie, code).await;
        assert_eq!(response.status(), 200, "it is always HTTP's 200");
        let is_servers = [2, 4, 12, 13, 14, 15].contains(&code);
        counted += u64::from(!is_servers);
        assert_eq!(look(&engine, &cookie, n).await, Some(counted), "{code}");
    }
}

/// The head and the trailers of a response that tells its status at its end: it counts by
/// its head.
#[tokio::test]
async fn a_response_with_a_message_carries_the_cookie_in_its_head() {
    let engine = Engine::new(Store::default());
    let response = call(&engine, "", 0).await;
    assert!(!response.headers().contains_key("grpc-status"));
    let cookie = cookies(&response)[0].split(';').next().unwrap().to_owned();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes()[..], [0, 0, 0, 0, 1, 1]);
    assert_eq!(look(&engine, &cookie, n).await, Some(1));
}

#[tokio::test]
async fn a_failed_save_is_a_status_without_a_message() {
    let store = Store::default();
    let engine = Engine::new(store.clone());
    let cookie = begin(&engine, |session| session.insert("n", 1).unwrap()).await;
    store.reset();
    store.fail_at(1, Fault::Refuse);
    let response = call(&engine, &cookie, 0).await;
    assert_eq!(response.status(), 200);
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, ""));
    assert!(response.body().is_end_stream(), "there are no trailers");
    assert_eq!(look(&engine, &cookie, n).await, Some(1));
}
