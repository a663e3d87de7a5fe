//! The script's site on actix-web.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::error::ErrorForbidden;
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::{self, System};
use actix_web::web::{self, Bytes, Data, Path, Payload, ServiceConfig};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer};
use cloakroom::actix::{
    Aal2, AtLeast, Fresh, LoggedIn, Minutes, Session, SessionExt, SessionMiddleware,
};
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Meetings, WEBSOCKET_ACCEPT, pages};

/// A site on two workers, as `#[actix_web::main]` runs one. It stops when dropped.
#[derive(Debug)]
pub struct ActixSite {
    /// Where it listens.
    pub addr: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl ActixSite {
    /// Serves the script's site over the store that this URL opens.
    ///
    /// # Panics
    /// Where the store does not open, or this machine has no free port.
    #[must_use]
    pub fn serve(url: &str) -> Self {
        let url = url.to_owned();
        let (tell, told) = mpsc::channel();
        let site = async move || {
            let store = cloakroom::open(&url).await.expect("a store");
            let engine = super::engine(store.clone());
            let meetings = Meetings::default();
            let app = move || {
                App::new()
                    .configure(routes(meetings.clone()))
                    .wrap(from_fn(early))
                    .wrap(SessionMiddleware::new(engine.clone()).step_up_page("/prove"))
            };
            let server = HttpServer::new(app).workers(2).disable_signals();
            let server = server.shutdown_timeout(5).bind("127.0.0.1:0");
            let server = server.expect("a free port");
            let addr = server.addrs()[0];
            let server = server.run();
            tell.send((addr, server.handle())).expect("somebody waits");
            server.await.expect("serving does not fail");
            store.close().await.expect("a store that closes");
        };
        let thread = thread::spawn(move || System::new().block_on(site()));
        let (addr, server) = told.recv().expect("a site that listens");
        Self {
            addr,
            server,
            thread: Some(thread),
        }
    }

    /// Stops it as a signal does: requests that have begun are answered.
    ///
    /// # Panics
    /// Where the site has failed.
    pub async fn stop(mut self) {
        self.server.stop(true).await;
        let thread = self.thread.take().expect("taken once");
        let ended = tokio::task::spawn_blocking(|| thread.join()).await;
        ended.expect("a thread").expect("the site does not panic");
    }
}

impl Drop for ActixSite {
    fn drop(&mut self) {
        // The command is sent here; who waits for the future waits for its end.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The routes, which the middleware [`early`] and that of the session stand around.
fn routes(meetings: Meetings) -> impl FnOnce(&mut ServiceConfig) {
    move |site| {
        site.app_data(Data::new(meetings))
            .route("/plain", web::get().to(async || "plain"))
            .route("/read", web::get().to(read))
            .route("/cached", web::get().to(cached))
            .route("/count", web::post().to(count))
            .route("/count-cached", web::post().to(count_cached))
            .route("/status/{code}", web::post().to(status))
            .route("/too-long", web::post().to(too_long))
            .route("/whose", web::get().to(whose))
            .route("/members", web::get().to(members))
            .route("/vault", web::get().to(vault))
            .route("/just-now", web::get().to(just_now))
            .route("/prove", web::post().to(prove))
            .route("/login/{name}", web::post().to(login))
            .route("/logout", web::post().to(logout))
            .route("/meet", web::post().to(meet))
            .route("/together/{count}", web::post().to(together))
            .route("/late", web::post().to(late))
            .route("/stream", web::get().to(stream))
            .route("/panic", web::get().to(panic))
            .route("/unread", web::post().to(unread))
            .route("/socket", web::get().to(socket));
    }
}

type Page<T = String> = actix_web::Result<T>;

async fn read(session: Session) -> Page {
    Ok(pages::read(&session)?)
}

async fn count(session: Session) -> Page {
    Ok(pages::count(&session)?)
}

fn for_all(text: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(("cache-control", "public, max-age=60"));
    response.insert_header(("vary", "Accept-Language"));
    response.body(text)
}

async fn cached(session: Session) -> Page<HttpResponse> {
    Ok(for_all(pages::read(&session)?))
}

async fn count_cached(session: Session) -> Page<HttpResponse> {
    Ok(for_all(pages::count(&session)?))
}

async fn status(session: Session, code: Path<u16>) -> Page<HttpResponse> {
    pages::count(&session)?;
    let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::NOT_FOUND);
    Ok(HttpResponse::build(code).body("status"))
}

async fn too_long(session: Session) -> Page {
    Ok(pages::too_long(&session)?)
}

async fn whose(session: Session) -> String {
    pages::whose(&session)
}

async fn members(visitor: LoggedIn) -> String {
    visitor.subject().as_str().to_owned()
}

async fn vault(visitor: AtLeast<Aal2>, _: Fresh<Minutes<10>>) -> String {
    visitor.subject().as_str().to_owned()
}

async fn just_now(visitor: Fresh<Minutes<0>>) -> String {
    visitor.subject().as_str().to_owned()
}

async fn prove(session: Session) -> Page {
    Ok(pages::prove(&session)?)
}

async fn login(session: Session, name: Path<String>) -> Page<HttpResponse> {
    let status = StatusCode::from_u16(pages::login(&session, &name)?);
    Ok(HttpResponse::build(status.unwrap_or_default()).body("in"))
}

async fn logout(session: Session) -> Page {
    Ok(pages::logout(&session)?)
}

async fn meet(meetings: Data<Meetings>) -> &'static str {
    meetings.pair().await;
    "met"
}

async fn together(meetings: Data<Meetings>, session: Session, count: Path<usize>) -> Page {
    meetings.of(*count).await;
    Ok(pages::count(&session)?)
}

async fn late(meetings: Data<Meetings>, session: Session) -> Page<HttpResponse> {
    let text = pages::late(&session, &meetings).await?;
    let mut response = HttpResponse::Ok();
    Ok(response.insert_header(("x-handler", "yes")).body(text))
}

async fn stream(meetings: Data<Meetings>, session: Session) -> Page<HttpResponse> {
    pages::count(&session)?;
    let body = pages::stream((*session).clone(), meetings.get_ref().clone());
    Ok(HttpResponse::Ok().streaming(body))
}

async fn panic(session: Session) -> Page {
    pages::count(&session)?;
    panic!("as a handler may")
}

async fn unread(session: Session, _: HttpRequest, _: Payload) -> Page {
    Ok(pages::count(&session)?)
}

/// Answers in a handler's place: once without a look at the session, and once by an error.
async fn early(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody + 'static>, Error> {
    match request.path() {
        "/early" => {
            let response = HttpResponse::Forbidden().body("early");
            Ok(request.into_response(response).map_into_right_body())
        }
        "/early/read" => {
            let session = SessionExt::session(&request).await?;
            Err(ErrorForbidden(pages::read(&session)?))
        }
        _ => next
            .call(request)
            .await
            .map(ServiceResponse::map_into_left_body),
    }
}

async fn socket(session: Session, mut received: Payload) -> Page<HttpResponse> {
    pages::count(&session)?;
    let (ours, connection) = tokio::io::duplex(64);
    let (sent, mut receives) = tokio::io::split(ours);
    rt::spawn(pages::socket((*session).clone(), connection));
    rt::spawn(async move {
        while let Some(Ok(bytes)) = received.next().await {
            if receives.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let sent = stream::unfold(sent, async |mut sent| {
        let mut bytes = [0; 64];
        let count = sent
            .read(&mut bytes)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        let bytes = Bytes::copy_from_slice(&bytes[..count]);
        Some((Ok::<_, Infallible>(bytes), sent))
    });
    let mut response = HttpResponse::SwitchingProtocols();
    response.insert_header(("sec-websocket-accept", WEBSOCKET_ACCEPT));
    Ok(response.upgrade("websocket").streaming(Box::pin(sent)))
}
