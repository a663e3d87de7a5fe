//! The first page: searching, why sessions end, the store, and ending everybody's.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cloakroom::SweepReport;
use cloakroom::engine::TokenStore as _;
use cloakroom::store::{CacheStats, Capabilities};
use maud::{Markup, html};

use crate::answer::Visit;
use crate::html::{Page, form};
use crate::moment::{counted, grouped, instant};
use crate::reason::words;
use crate::survey::{End, SCAN_ITEMS_MAX, Survey};

/// What has to be typed to end everybody's session.
pub(crate) const CONFIRMATION: &str = "end everybody";

pub(crate) async fn page(visit: &Visit<'_>) -> Response {
    show(visit, None).await
}

/// The page again, where the confirmation was another one.
pub(crate) async fn not_confirmed(visit: &Visit<'_>, typed: &str) -> Response {
    show(visit, Some(typed)).await
}

async fn show(visit: &Visit<'_>, typed: Option<&str>) -> Response {
    let engine = &visit.shared.engine;
    let survey = match Survey::of(engine, None).await {
        Ok(survey) => survey,
        Err(error) => return visit.not_read(&error),
    };
    let can = engine.store().token_capabilities();
    let content = html! {
        (search(""))
        h2 { "Why sessions have ended" }
        (ends_of_all(survey.as_ref(), &can))
        h2 { "The store" }
        (store(short_type_name(engine.store().type_name()).as_str(), survey.as_ref(), &can))
        h2 { "The near cache" }
        (near_cache(&can))
        h2 { "The sweeper" }
        (sweeper(visit.shared.sweep_report.as_ref().map(|report| report()), &can))
        h2 { "End everybody’s session" }
        @if can.scan.is_some() {
            (end_everybody(visit, typed))
        } @else {
            p {
                "This store does not know its sessions, so they cannot be ended from here. Where \
                 they are in the visitors’ cookies, put a new secret into the key file in the place \
                 of all others, on every server."
            }
        }
    };
    Page {
        status: typed.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY),
        title: "Sessions",
        name: Some(visit.name()),
        content,
    }
    .render()
}

/// The form that looks for a user.
pub(crate) fn search(subject: &str) -> Markup {
    html! {
        form.search method="get" action="?" role="search" {
            label {
                "User id, as the site gives it to its sessions"
                input name="subject" value=(subject) required maxlength="256" autocomplete="off"
                    autocapitalize="none" spellcheck="false";
            }
            button { "Show their sessions" }
        }
    }
}

/// The types of a store without the modules that they are in.
fn short_type_name(full: &str) -> String {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut short = String::new();
    let mut rest = full;
    while let Some(first) = rest.chars().next() {
        let until = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let until = until.max(first.len_utf8());
        let (piece, after) = rest.split_at(until);
        short.push_str(piece.rsplit("::").next().unwrap_or_default());
        rest = after;
    }
    short
}

fn ends_of_all(survey: Option<&Survey>, can: &Capabilities<'_>) -> Markup {
    let Some(survey) = survey else {
        return html! { p { "This store cannot be read through, so nothing is known of them." } };
    };
    html! {
        @if survey.ends.is_empty() {
            p { "The store remembers no session that has ended." }
        } @else {
            table {
                caption { "Ended sessions that the store remembers, for a day each" }
                thead {
                    tr {
                        th scope="col" { "Reason" }
                        th.number scope="col" { "Last hour" }
                        th.number scope="col" { "Last day" }
                    }
                }
                tbody {
                    @for (because, count) in &survey.ends {
                        tr {
                            th scope="row" { (words(*because)) " " code { (because) } }
                            td.number { (grouped(count.last_hour)) }
                            td.number { (grouped(count.last_day)) }
                        }
                    }
                }
            }
            h3 { "The latest" }
            (ends(&survey.latest))
        }
        (what_is_unknown(survey, can))
    }
}

/// What the counts of a page leave out.
pub(crate) fn what_is_unknown(survey: &Survey, can: &Capabilities<'_>) -> Markup {
    html! {
        @if can.sweep.is_none() {
            p.quiet {
                "This store forgets expired sessions by itself: it does not remember the end of \
                 those that were not used for long, or had reached their deadline."
            }
        }
        @if !survey.is_whole {
            p.quiet {
                "The store holds more than was read for this page: the first "
                (grouped(survey.read as u64)) " of its entries. "
                @if survey.read >= SCAN_ITEMS_MAX { "A page reads no more than so many." }
                @else { "Reading on would have taken too long." }
                " The counts are of these."
            }
        }
    }
}

/// Sessions that have ended, one a row.
pub(crate) fn ends(latest: &[End]) -> Markup {
    html! {
        ul.rows {
            @for End { digest, tombstone } in latest {
                li {
                    p.what { (words(tombstone.because)) " " code { (tombstone.because) } }
                    p.when {
                        "Session " code { (digest.short()) }
                        @if tombstone.at > cloakroom::Timestamp::EPOCH { ", " (instant(tombstone.at)) }
                        @if let Some(note) = &tombstone.note { ", note: " q { bdi { (note.as_str()) } } }
                    }
                }
            }
        }
    }
}

fn yes(can: bool) -> &'static str {
    if can { "yes" } else { "no" }
}

fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl {
            @for (name, fact) in facts {
                div { dt { (name) } dd { (fact) } }
            }
        }
    }
}

fn store(kind: &str, survey: Option<&Survey>, can: &Capabilities<'_>) -> Markup {
    let mut rows = vec![("Kind", html! { code { (kind) } })];
    if let Some(side) = can.client_side {
        rows.push((
            "Where sessions are",
            html! {
                "in the visitors’ cookies; "
                @if side.ends_by_subject { "all of a user’s can be ended at once" }
                @else { "nothing ends one before its deadline" }
            },
        ));
    }
    match survey {
        None => rows.push((
            "Live sessions",
            html! { "unknown: it cannot be read through" },
        )),
        Some(survey) => {
            let least = if survey.is_whole { "" } else { "at least " };
            rows.push((
                "Live sessions",
                html! {
                    (least) (grouped(survey.live)) "; "
                    (grouped(survey.logged_in)) " of them logged in"
                },
            ));
            rows.push((
                "Other entries",
                html! {
                    (least) (counted(survey.other_records, "session")) " expired or of another site, "
                    (counted(survey.marks, "rotation mark")) ", "
                    (counted(survey.ends.values().map(|count| count.last_day).sum(), "tombstone"))
                },
            ));
            if survey.unreadable > 0 {
                rows.push((
                    "Cannot be read",
                    html! { (counted(survey.unreadable, "entry")) },
                ));
            }
        }
    }
    rows.extend([
        (
            "Lists sessions by user",
            html! { (yes(can.subjects.is_some())) },
        ),
        (
            "Tells other servers of changes",
            html! { (yes(can.invalidations.is_some())) },
        ),
        (
            "An ended session may open on another server",
            html! {
                @match can.staleness_max {
                    Duration::ZERO => "no",
                    longest => { "for up to " (counted(longest.as_secs().max(1), "second")) }
                }
            },
        ),
    ]);
    facts(&rows)
}

fn near_cache(can: &Capabilities<'_>) -> Markup {
    let Some(cache) = can.near_cache else {
        return html! { p { "There is none in front of this store." } };
    };
    let stats: CacheStats = cache.stats();
    let loads = stats.hits + stats.misses;
    facts(&[
        (
            "Answered from memory",
            html! {
                (grouped(stats.hits)) " of " (counted(loads, "load"))
                @if let Some(percent) = (stats.hits * 100).checked_div(loads) { ", " (percent) " %" }
            },
        ),
        ("Asked the store", html! { (counted(stats.misses, "load")) }),
        (
            "Of these, too old in memory",
            html! { (grouped(stats.stale)) },
        ),
        (
            "Shared another load’s answer",
            html! { (grouped(stats.coalesced)) },
        ),
        (
            "Dropped since another server changed them",
            html! { (grouped(stats.invalidated)) },
        ),
        (
            "Hears other servers",
            html! {
                @if stats.is_disconnected { "no: its subscription is broken" }
                @else if can.invalidations.is_some() { "yes" }
                @else { "not with this store" }
                @if stats.disconnects > 0 { "; broken " (counted(stats.disconnects, "time")) " so far" }
            },
        ),
    ])
}

fn sweeper(report: Option<SweepReport>, can: &Capabilities<'_>) -> Markup {
    match report {
        _ if can.sweep.is_none() => html! {
            p { "Nothing is to be swept: this store forgets expired sessions by itself." }
        },
        None => html! {
            p { "This page was not told of one. Without a sweep, expired sessions stay in the store." }
        },
        Some(report) => facts(&[
            (
                "Last run",
                html! {
                    @match report.last_pass_at { Some(at) => (instant(at)), None => "not yet" }
                },
            ),
            ("Runs", html! { (grouped(report.passes)) }),
            ("Entries removed", html! { (grouped(report.removed)) }),
            (
                "Runs that failed",
                html! {
                    (grouped(report.errors))
                    @if let Some(error) = &report.last_error { ", the last one with: " (error) }
                },
            ),
        ]),
    }
}

fn end_everybody(visit: &Visit<'_>, typed: Option<&str>) -> Markup {
    html! {
        p {
            "For the day on which cookies have leaked, as by the log of a proxy. Every visitor \
             loses their session, you too, and what was in it, such as a cart. Logins from then on stay. A large store \
             takes minutes; it goes on if you close this page."
        }
        details open[typed.is_some()] {
            summary { "End every session of this site…" }
            (form(&visit.token, "everybody", html! {
                @if typed.is_some() {
                    p.failed id="not-confirmed" role="alert" {
                        "Nothing was done: what you typed is not “" (CONFIRMATION) "”."
                    }
                }
                label {
                    "Type “" (CONFIRMATION) "” to confirm"
                    input name="confirmation" value=(typed.unwrap_or_default()) required
                        autocomplete="off" autocapitalize="none" spellcheck="false"
                        autofocus[typed.is_some()] aria-invalid=[typed.map(|_| "true")]
                        aria-describedby=[typed.map(|_| "not-confirmed")];
                }
                button.danger { "End every session" }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_store_is_named_without_its_modules() {
        for (full, short) in [
            ("cloakroom_redb::RedbStore", "RedbStore"),
            (
                "cloakroom_sealed::Sealed<cloakroom_cached::Cached<a::b::C>>",
                "Sealed<Cached<C>>",
            ),
            ("Two<a::B, c::D>", "Two<B, D>"),
            ("", ""),
        ] {
            assert_eq!(short_type_name(full), short);
        }
    }
}
