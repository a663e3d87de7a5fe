//! A small web site on Cloakroom sessions: what a newcomer sees first.
//!
//! People register, log in and out, count their visits and fill a cart; every
//! page ends with what it cost the store. It runs with no database but its own
//! folder, needs no JavaScript, and is read best beside its source:
//! [`site`] is the whole application, [`serve`] puts it on a port.
//!
//! ```no_run
//! use cloakroom_demo::{Options, serve};
//!
//! # async fn example() -> Result<(), cloakroom_demo::DemoError> {
//! serve(Options::default(), |ready| println!("http://{}/", ready.addr)).await
//! # }
//! ```

mod accounts;
mod assets;
mod bill;
mod browser;
mod connections;
mod csrf;
mod ended;
mod error;
mod layout;
mod metrics;
mod moment;
mod notice;
mod pages;
mod post;
mod problem;
mod serve;
mod site;
mod state;
mod store_url;
mod tls;
mod visitor;

pub use accounts::{
    ACCOUNTS_MAX, Account, AccountError, Accounts, NAME_CHARS_MAX, PASSWORD_BYTES_MAX,
    PASSWORD_BYTES_MIN,
};
pub use error::DemoError;
pub use serve::{Options, Ready, engine, serve};
pub use site::{FORM_BYTES_MAX, site};
