//! `cloakroom audit`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cloakroom::audit::{Audit, Finding, Profile, Verdict};
use cloakroom::{AnyStore, BearerPolicy, CookiePolicy, Engine, Expiry, Prefix, SameSite, Site};
use serde::Deserialize;
use serde_json::json;

use crate::failure::{Code, Failure};

/// Bytes of the longest file of choices that is read.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

pub(crate) const EXAMPLE: &str = "\
CONFIG says in TOML how the site builds its engine; what it leaves out is the default:

  store = \"redb:./sessions.redb\"
  no_store = true
  # bearer = true, site, sessions_per_subject_max, renew_key_after_secs, touch_share_percent

  [expiry]
  preset = \"aal2\"        # aal1, aal2 or aal3; or idle_secs, absolute_secs
  # ends_with_browser = true

  [cookie]
  clear_site_data = true
  # name, prefix (host, host-http, secure, none), domain, path, same_site (strict, lax, none),
  # insecure_over_http, readable_by_scripts, chunks_max

The store is opened, so that what it can do is known; redb and sled must be closed elsewhere. A
site's own test can do without this file: it calls engine.audit(profile).

Example: cloakroom audit --profile asvs5-l2 site.toml
Exit code 0 where nothing fails, and 1 where something does; the others are those of
`cloakroom --help`.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The standard and its level: asvs5-l1, asvs5-l2, asvs5-l3, nist-aal1, nist-aal2,
    /// nist-aal3 or pci-dss4
    #[arg(long, value_name = "PROFILE")]
    profile: Profile,
    /// Print one JSON document in place of a table
    #[arg(long)]
    json: bool,
    /// A TOML file with the site's choices
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

/// How a site builds its engine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    store: String,
    site: Option<String>,
    #[serde(default)]
    bearer: bool,
    #[serde(default)]
    no_store: bool,
    sessions_per_subject_max: Option<usize>,
    renew_key_after_secs: Option<u64>,
    touch_share_percent: Option<u8>,
    #[serde(default)]
    expiry: Lifetimes,
    #[serde(default)]
    cookie: Cookie,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetimes {
    preset: Option<Preset>,
    idle_secs: Option<u64>,
    absolute_secs: Option<u64>,
    #[serde(default)]
    ends_with_browser: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Preset {
    Aal1,
    Aal2,
    Aal3,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cookie {
    name: Option<String>,
    prefix: Option<PrefixName>,
    domain: Option<String>,
    path: Option<String>,
    same_site: Option<SameSiteName>,
    #[serde(default)]
    insecure_over_http: bool,
    #[serde(default)]
    readable_by_scripts: bool,
    #[serde(default)]
    clear_site_data: bool,
    chunks_max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PrefixName {
    Host,
    HostHttp,
    Secure,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SameSiteName {
    Strict,
    Lax,
    None,
}

impl Lifetimes {
    fn expiry(&self) -> Result<Expiry, Failure> {
        let expiry = match (&self.preset, self.idle_secs) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "[expiry] has both preset and idle_secs: leave one out",
                ));
            }
            (Some(_), None) if self.absolute_secs.is_some() => {
                return Err(Failure::usage(
                    "[expiry] has both preset and absolute_secs: leave one out",
                ));
            }
            (None, None) if self.absolute_secs.is_some() => {
                return Err(Failure::usage(
                    "[expiry] has absolute_secs alone: give idle_secs too",
                ));
            }
            (Some(Preset::Aal1), None) => Expiry::aal1(),
            (Some(Preset::Aal2), None) => Expiry::aal2(),
            (Some(Preset::Aal3), None) => Expiry::aal3(),
            (None, None) => Expiry::default(),
            (None, Some(idle)) => Expiry::new(
                Duration::from_secs(idle),
                self.absolute_secs.map(Duration::from_secs),
            )?,
        };
        Ok(match self.ends_with_browser {
            true => expiry.ending_with_browser(),
            false => expiry,
        })
    }
}

impl Cookie {
    fn policy(self) -> Result<CookiePolicy, cloakroom::Error> {
        let mut policy = CookiePolicy::builder();
        if let Some(name) = self.name {
            policy = policy.name(name);
        }
        if let Some(prefix) = self.prefix {
            policy = policy.prefix(match prefix {
                PrefixName::Host => Prefix::Host,
                PrefixName::HostHttp => Prefix::HostHttp,
                PrefixName::Secure => Prefix::Secure,
                PrefixName::None => Prefix::None,
            });
        }
        if let Some(domain) = self.domain {
            policy = policy.domain(domain);
        }
        if let Some(path) = self.path {
            policy = policy.path(path);
        }
        if let Some(same_site) = self.same_site {
            policy = policy.same_site(match same_site {
                SameSiteName::Strict => SameSite::Strict,
                SameSiteName::Lax => SameSite::Lax,
                SameSiteName::None => SameSite::None,
            });
        }
        if self.insecure_over_http {
            policy = policy.insecure_over_http();
        }
        if self.readable_by_scripts {
            policy = policy.readable_by_scripts();
        }
        if self.clear_site_data {
            policy = policy.clear_site_data();
        }
        if let Some(chunks) = self.chunks_max {
            policy = policy.chunks_max(chunks);
        }
        policy.build()
    }
}

impl Config {
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut text = String::new();
        let read = File::open(path).and_then(|file| {
            let mut limited = file.take(CONFIG_BYTES_MAX + 1);
            limited.read_to_string(&mut text)
        });
        let bytes =
            read.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        if bytes as u64 > CONFIG_BYTES_MAX {
            return Err(Failure::usage(format!(
                "{shown} is longer than {CONFIG_BYTES_MAX} bytes"
            )));
        }
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.lines().count().max(1));
            // It may quote a value, and the store's URL may hold a password.
            let quotes = ["@", "//", "string \""];
            let message = match error.message() {
                message if quotes.iter().any(|quote| message.contains(quote)) => {
                    "this is not as `cloakroom audit --help` says"
                }
                message => message,
            };
            Failure::usage(format!("{shown}, line {line}: {message}"))
        })
    }

    /// The engine that the site builds, over a store that is open.
    fn engine(self, store: AnyStore) -> Result<Engine, Failure> {
        let mut builder = Engine::builder(store)
            .expiry(self.expiry.expiry()?)
            .no_store(self.no_store);
        builder = match self.bearer {
            true => builder.bearer(BearerPolicy::default()),
            false => builder.cookie(self.cookie.policy()?),
        };
        if let Some(site) = &self.site {
            builder = builder.site(Site::new(site)?);
        }
        if let Some(max) = self.sessions_per_subject_max {
            builder = builder.sessions_per_subject_max(max);
        }
        if let Some(secs) = self.renew_key_after_secs {
            builder = builder.renew_key_after(Duration::from_secs(secs));
        }
        if let Some(share) = self.touch_share_percent {
            builder = builder.touch_share_percent(share);
        }
        Ok(builder.build()?)
    }
}

/// Holds the engine of the configuration against the profile.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let audit = runtime.block_on(audit(config, arguments.profile))?;
    match arguments.json {
        true => print(&format!("{:#}\n", as_json(&audit)))?,
        false => print(&audit.to_string())?,
    }
    let fails = match audit.failures().count() {
        0 => return Ok(()),
        1 => format!("1 requirement of {} does not hold", audit.profile()),
        count => format!("{count} requirements of {} do not hold", audit.profile()),
    };
    Err(Failure::new(Code::Failed, fails))
}

async fn audit(config: Config, profile: Profile) -> Result<Audit, Failure> {
    let store = cloakroom::open(&config.store).await?;
    let audit = config
        .engine(store.clone())
        .map(|engine| engine.audit(profile));
    store.close().await?;
    audit
}

/// Whoever has closed the pipe does not want to know the rest.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn as_json(audit: &Audit) -> serde_json::Value {
    let findings = audit.findings().iter().map(|finding| {
        let Finding {
            id,
            requirement,
            is_recommended,
            verdict,
            ..
        } = finding;
        let (name, text, mend) = match verdict {
            Verdict::Holds { because } => ("holds", because, None),
            Verdict::Fails { because, mend } => ("fails", because, Some(*mend)),
            Verdict::Application { must } => ("application", must, None),
        };
        json!({
            "id": id,
            "requirement": requirement,
            "recommended": is_recommended,
            "verdict": name,
            "text": text,
            "mend": mend,
        })
    });
    json!({
        "profile": audit.profile().name(),
        "title": audit.profile().title(),
        "failures": audit.failures().count(),
        "findings": findings.collect::<Vec<_>>(),
    })
}
