//! The same over real servers.

use crate::support::{Sessions, cloakroom, json, over, over_with_input, text};

/// A Redis and a PostgreSQL, where they are installed, each with a place of its own.
fn stores(name: &str) -> Vec<String> {
    let mut urls = Vec::new();
    if let Some(redis) = cloakroom_servers::redis() {
        urls.push(format!("{}?prefix={name}:", redis.url()));
    }
    if let Some(postgres) = cloakroom_servers::postgres() {
        urls.push(format!("{}?table={name}", postgres.url()));
    }
    urls
}

#[test]
fn a_server_is_read_like_a_file() {
    for url in stores("read") {
        let sessions = Sessions::in_store(&url);
        let stats = json(over(&url, &["stats", "--json"]));
        assert_eq!(stats["live"], 3, "{stats}");
        let listed = json(over(&url, &["list", "--json", "--subject", "ada"]));
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 2);
        let shown = json(over(&url, &["show", "--json", &sessions.nobody.short()]));
        assert_eq!(shown["digest"], sessions.nobody.to_hex());
        let swept = text(over(&url, &["sweep"]));
        match url.starts_with("redis") {
            true => assert!(swept.contains("by itself"), "{swept}"),
            false => assert!(swept.contains("Removed 1 "), "{swept}"),
        }
    }
}

#[test]
fn a_database_without_a_table_is_told_and_given_none() {
    let Some(postgres) = cloakroom_servers::postgres() else {
        return;
    };
    let url = format!("{}?table=nobodys", postgres.url());
    let said = crate::support::failure(over(&url, &["stats"]), 2);
    assert!(said.contains("nobodys"), "{said}");
    let tables = postgres.query("SELECT 1 FROM pg_tables WHERE tablename = 'nobodys'");
    assert!(tables.unwrap().is_empty());
}

#[test]
fn a_check_of_a_server_touches_no_session_of_it() {
    for url in stores("checked") {
        Sessions::in_store(&url);
        let mut command = cloakroom(&["check", "env:STAGING", "--json"]);
        let report = json(command.env("STAGING", &url).output().unwrap());
        assert_eq!(report["broken"], 0, "{report}");
        let stats = json(over(&url, &["stats", "--json"]));
        assert_eq!(stats["live"], 3, "{stats}");
        let mut command = cloakroom(&["bench", "env:STAGING", "--sessions", "16"]);
        text(command.env("STAGING", &url).output().unwrap());
        if let Some(redis) = cloakroom_servers::redis() {
            let kept = "local kept = {} for _, key in ipairs(redis.call('KEYS', 'cloakroom-scratch-*')) \
                        do if redis.call('TTL', key) < 0 then kept[#kept + 1] = key end end \
                        return table.concat(kept, ' ')";
            assert_eq!(redis.command(&["EVAL", kept, "0"]).unwrap(), "");
        }
    }
}

#[test]
fn a_session_on_a_server_is_ended_explained_exported_and_erased() {
    for url in stores("ended") {
        let sessions = Sessions::in_store(&url);
        let short = sessions.ada[0].short();
        text(over(&url, &["revoke", &short, "--yes", "--note", "stolen"]));
        let fate = json(over(&url, &["why", &short, "--json"]));
        assert_eq!(fate["because"], "ended_by_administrator", "{fate}");
        assert_eq!(fate["note"], "stolen", "{fate}");
        let stdin = ["why", "--cookie-stdin", "--json"];
        let by_cookie = json(over_with_input(&url, &stdin, &sessions.token));
        assert_eq!(by_cookie, fate);
        let export = json(over(&url, &["export", "ada"]));
        assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(export["ended"][0]["note"], "stolen", "{export}");
        let erased = json(over(&url, &["erase", "ada", "--yes", "--json"]));
        assert_eq!(
            (&erased["sessions"], &erased["tombstones"]),
            (&1.into(), &1.into())
        );
        let rest = json(over(&url, &["revoke", "--everybody", "--yes", "--json"]));
        assert!(rest["ended"].as_u64() > Some(0), "{rest}");
        assert_eq!(json(over(&url, &["stats", "--json"]))["live"], 0);
    }
}

#[test]
fn the_caches_of_other_nodes_hear_of_what_the_command_ends() {
    use cloakroom::engine::{Token, TokenStore as _};
    use std::time::{Duration, Instant};

    use crate::support::{block_on, site};

    for url in stores("heard") {
        let url = format!("{url}&cache=1MiB&stale=600s");
        block_on(async {
            let node = cloakroom::open(&url).await.unwrap();
            let sessions = Sessions::create(&node).await;
            let token = Token::new(sessions.token.as_str()).of_site(&site());
            let opens = async || {
                let loaded = node.load_token(&token).await.unwrap();
                loaded.is_some_and(|loaded| loaded.stored.into_record().is_some())
            };
            assert!(opens().await, "it is in the cache now");
            let short = sessions.ada[0].short();
            text(over(&url, &["revoke", &short, "--yes"]));
            let began = Instant::now();
            while opens().await {
                assert!(
                    began.elapsed() < Duration::from_secs(10),
                    "nobody told the cache"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            node.close().await.unwrap();
        });
    }
}

#[test]
fn sessions_move_from_one_server_to_another() {
    let [from, to] = match stores("moved").try_into() {
        Ok(both) => both,
        Err(_) => return,
    };
    Sessions::in_store(&from);
    let mut command = cloakroom(&["migrate", "env:FORMER", "env:NEW", "--yes", "--json"]);
    let moved = json(
        command
            .env("FORMER", &from)
            .env("NEW", &to)
            .output()
            .unwrap(),
    );
    assert_eq!(moved["unreadable"], 0, "{moved}");
    assert_eq!(json(over(&from, &["stats", "--json"]))["live"], 0);
    assert_eq!(json(over(&to, &["stats", "--json"]))["live"], 3);
}
