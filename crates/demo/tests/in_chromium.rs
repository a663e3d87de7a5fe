//! Two browsers of one visitor, and an admin who ends the session of one: in real Chromiums.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use cloakroom::stores::MemoryStore;
use cloakroom_demo::{Accounts, engine, site};
use cloakroom_servers::Chromium;

/// A page beside the demo's, whose script fills the demo's forms as the browser shows them, and
/// leaves what it came to at the end in its body.
const SCRIPT: &str = r#"
<!DOCTYPE html><title>a walk</title><body><script type="module">
const page = async answer =>
  new DOMParser().parseFromString(await (await answer).text(), 'text/html');
const open = address => page(fetch(address));
// A form of a page, by what it is about, with its fields filled in.
const send = (shown, address, which, filled) => {
  const form = [...shown.querySelectorAll('form[method=post]')].find(which);
  const fields = new URLSearchParams(new FormData(form));
  for (const [name, text] of Object.entries(filled)) fields.set(name, text);
  const to = new URL(form.getAttribute('action'), new URL(address, location));
  return page(fetch(to, { method: 'POST', body: fields }));
};
const any = () => true;
const entry = name => ({ name, password: 'correct horse', remember: 'yes' });
const done = text => { document.body.textContent = 'done: ' + text; };
const [, step, argument] = location.hash.split('/');
if (step === 'register' || step === 'login') {
  await send(await open('/' + step), '/' + step, form => form.action.endsWith('/' + step), entry(argument));
  const facts = [...(await open('/record')).querySelectorAll('.facts div')];
  done(facts.find(fact => fact.textContent.startsWith('Belongs to')).querySelector('dd').textContent);
} else {
  const enters = form => form.action.endsWith('/admin/enter');
  await send(await open('/admin'), '/admin', enters, { password: 'correct horse' });
  const at = '/admin/sessions?subject=' + argument;
  // The one used last stands first.
  const one = form => form.elements.do.value === 'one';
  const after = await send(await open(at), at, one, { note: 'We found your <phone>.' });
  done(after.querySelector('.done').textContent);
}
</script>"#;

/// The demo on a port, with that page.
async fn serve(folder: &Path) -> String {
    let accounts = Arc::new(Accounts::open(folder).unwrap());
    let demo = site(engine(MemoryStore::default()).unwrap(), accounts);
    let router = Router::new()
        .route("/walk", get(async || Html(SCRIPT)))
        .fallback_service(demo);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{addr}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_browsers_the_one_whose_session_an_admin_ends_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let profile = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        Chromium::new(&folder)
    };
    let (Some(phone), Some(laptop), Some(root)) =
        (profile("phone"), profile("laptop"), profile("root"))
    else {
        return;
    };
    let base = serve(folder.path()).await;
    let visit = |browser: &Chromium, path: &str| {
        tokio::task::block_in_place(|| browser.visit(&format!("{base}{path}")))
    };
    let walk = |browser: &Chromium, step: &str| {
        let dom = visit(browser, &format!("/walk#/{step}"));
        let (_, rest) = dom
            .split_once("<body>done: ")
            .unwrap_or_else(|| panic!("{dom}"));
        rest.split_once('<').unwrap().0.trim().to_owned()
    };
    let id = walk(&laptop, "register/ada");
    assert_eq!(walk(&phone, "login/ada"), id);
    walk(&root, "register/root");
    let said = walk(&root, &format!("end/{id}"));
    assert_eq!(said, "That session has ended.");

    let told = visit(&phone, "/cart");
    assert!(
        told.contains("An administrator logged you out at "),
        "{told}"
    );
    assert!(
        told.contains("Their message: “<bdi>We found your &lt;phone&gt;.</bdi>”"),
        "{told}"
    );
    assert!(told.contains(r#"href="/login""#), "{told}");
    let again = visit(&phone, "/cart");
    assert!(
        !again.contains(r#"class="ended""#),
        "it is told once: {again}"
    );
    let other = visit(&laptop, "/cart");
    assert!(
        other.contains("<b>ada</b>") && !other.contains(r#"class="ended""#),
        "{other}"
    );
}
