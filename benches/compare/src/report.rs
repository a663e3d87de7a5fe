//! Writes what was measured into docs/speed.md and the README, between marks such as
//! `<!-- speed:goals -->` and `<!-- /speed:goals -->`, and draws the charts.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::goals::*;
use crate::results::{Figure, MACHINE, Results};
use crate::{GROWTH, RESULTS, machine, pictures};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub fn report() -> Result<(), Box<dyn Error>> {
    let results = Results::read(&[Path::new(RESULTS), Path::new(GROWTH)]);
    let root = Path::new(ROOT);
    let lock = fs::read_to_string(root.join("benches/compare/Cargo.lock"))?;
    let measured = measured(&results);
    let (short, run) = (short(&results), run(&results, &lock));
    let blocks = [
        ("answer", answer(&results)),
        ("short", short.clone()),
        ("run", run),
        ("goals", goals(&results)),
        ("works", works(&results)),
        ("growth", growth(&results)),
    ];
    replace(&root.join("docs/speed.md"), &blocks)?;
    replace(
        &root.join("README.md"),
        &[("readme", format!("{short}\n{measured}\n"))],
    )?;
    pictures::draw_all(&results, &root.join("docs/speed"))
}

/// Puts each block between its marks.
fn replace(file: &Path, blocks: &[(&str, String)]) -> Result<(), Box<dyn Error>> {
    let mut text = fs::read_to_string(file)?;
    for (name, block) in blocks {
        let (begin, end) = (
            format!("<!-- speed:{name} -->\n"),
            format!("<!-- /speed:{name} -->"),
        );
        let missing = || format!("{} has no mark {begin}", file.display());
        let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
        text = format!("{before}{begin}\n{}\n\n{end}{after}", block.trim_end());
    }
    Ok(fs::write(file, text)?)
}

/// A figure with its unit, in three digits or so.
pub fn written(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "ns" if value < 1e3 => (value, " ns"),
        "ns" if value < 1e6 => (value / 1e3, " µs"),
        "ns" if value < 1e9 => (value / 1e6, " ms"),
        "ns" => (value / 1e9, " s"),
        "B" => (value, " B"),
        "creates/s" => (value, "/s"),
        other => (value, other),
    };
    let digits = match value {
        value if value >= 100.0 || value == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let number = thousands(&format!("{value:.digits$}"));
    format!("{number}{unit}")
}

fn thousands(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let mut text = String::new();
    for (i, digit) in number.char_indices() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cell(figure: Option<Figure>) -> String {
    figure.map_or(String::new(), |figure| {
        let mark = if figure.is_coarse { "~" } else { "" };
        format!("{mark}{}", written(figure.median, &figure.unit))
    })
}

fn say(results: &Results, work: &str, contender: &str, variant: &str) -> String {
    let figure = results.figure(work, contender, variant);
    figure.map_or("(not measured)".to_owned(), |figure| {
        written(figure.median, &figure.unit)
    })
}

/// The first sentences of the page.
fn answer(results: &Results) -> String {
    let ours = |variant| say(results, "W4", MEMORY, variant);
    let theirs = |variant| say(results, "W4", TOWER, variant);
    let judged: Vec<_> = GOALS
        .iter()
        .filter_map(|goal| goal.judge(results))
        .collect();
    let met = judged.iter().filter(|judged| judged.is_met).count();
    let small = |variant| say(results, "W7", MEMORY, &format!("{variant} at 1000"));
    let large = |variant| say(results, "W7", MEMORY, &format!("{variant} at 1000000"));
    let redb = |variant| say(results, "W7", "cloakroom redb", variant);
    format!(
        "**A request that reads two values of its session takes {} with Cloakroom over the \
         in-memory store, and {} with tower-sessions 0.15 over its own; one that leaves its \
         session alone takes {} and {}, one that writes a value {} and {}.** Of the {} goals \
         below, {} were measured and {} are met.\n\n\
         **Among 1,000,000 sessions** a load from memory takes {} ({} among 1,000), and one \
         from redb {} ({}); a session takes {} of memory, or {} of the redb file.",
        ours("read"),
        theirs("read"),
        ours("untouched"),
        theirs("untouched"),
        ours("write"),
        theirs("write"),
        GOALS.len(),
        judged.len(),
        met,
        large("load"),
        small("load"),
        redb("load at 1000000"),
        redb("load at 1000"),
        large("bytes"),
        redb("bytes at 1000000"),
    )
}

/// What the README shows too.
fn short(results: &Results) -> String {
    let mut table = "| in memory | Cloakroom | tower-sessions 0.15 | ratio |\n\
                     | --- | ---: | ---: | ---: |\n"
        .to_owned();
    for (name, work, variant) in [
        ("a request that leaves its session alone", "W4", "untouched"),
        ("a request that reads two values", "W4", "read"),
        ("a request that writes one value", "W4", "write"),
        ("a request that begins a session of six values", "W4", "new"),
        ("a load, two threads at once", "W1", "2 threads"),
        ("memory of a session", "W6", "in the process"),
    ] {
        let figure = |contender| results.figure(work, contender, variant);
        if let (Some(ours), Some(theirs)) = (figure(MEMORY), figure(TOWER)) {
            let ratio = ours.median / theirs.median;
            let _ = writeln!(
                table,
                "| {name} | {} | {} | {ratio:.2} |",
                cell(Some(ours)),
                cell(Some(theirs))
            );
        }
    }
    table
}

/// The date and the machine, and whether it did something else.
fn measured(results: &Results) -> String {
    let dates = |work| results.variants(work);
    let date = dates("measured").pop().unwrap_or_default();
    let grown = dates("grown").pop();
    let grown = grown.filter(|grown| *grown != date);
    let grown = grown.map_or(String::new(), |grown| format!(" (the growth: {grown})"));
    let loads = results.variants("load average");
    let ranges = loads
        .iter()
        .filter_map(|work| results.range("load average", MACHINE, work));
    let (low, high) = ranges.fold((f64::MAX, 0.0), |(low, high), range| {
        (range.0.min(low), range.1.max(high))
    });
    // Writers that wait for the disk count in it too, so its peaks are this run's own.
    let usual = loads
        .iter()
        .filter_map(|work| results.figure("load average", MACHINE, work))
        .map(|figure| figure.median)
        .fold(0.0, f64::max);
    let busy = if usual > machine::cores() as f64 + 0.5 {
        ". **The machine was busy with other work, so times are coarse**: compare the columns, \
         not the nanoseconds"
    } else {
        ""
    };
    format!(
        "Measured on {date}{grown}, on {}; load average {low:.1} to {high:.1}{busy}.",
        machine::described()
    )
}

fn run(results: &Results, lock: &str) -> String {
    format!("{}\n\n{}.", measured(results), machine::versions(lock))
}

fn goals(results: &Results) -> String {
    let mut table = "| work | Cloakroom | beside | | ratio | goal | |\n\
                     | --- | ---: | --- | ---: | ---: | ---: | --- |\n"
        .to_owned();
    for goal in GOALS {
        let row = match goal.judge(results) {
            Some(judged) => judged_row(goal, &judged),
            None => format!(
                "| | {} | | | {} | not measured",
                goal.theirs.1,
                goal.wanted()
            ),
        };
        let _ = writeln!(table, "| {} {row} |", goal.what);
    }
    table
}

fn judged_row(goal: &Goal, judged: &Judged) -> String {
    // A store may stand beside itself.
    let is_itself = goal.theirs.0 == goal.ours.0;
    let beside = if is_itself {
        goal.theirs.1
    } else {
        goal.theirs.0
    };
    format!(
        "| {} | {beside} | {} | {:.2} | {} | {}",
        cell(Some(judged.ours.clone())),
        cell(Some(judged.theirs.clone())),
        judged.ratio,
        goal.wanted(),
        if judged.is_met { "met" } else { "missed" },
    )
}

const WORKS: [(&str, &str, &str); 7] = [
    ("W1", "Loading one of 100,000 sessions", "load"),
    (
        "W2",
        "Saving one of 100,000 sessions, one value changed",
        "save",
    ),
    ("W3", "Creating a session, its key included", "create"),
    ("W4", "A whole request through the middleware", "request"),
    ("W5", "The whole session in a cookie", "cookie"),
    ("W6", "Memory of a session, 200,000 of them", "memory"),
    ("W8", "Durable creates a second", "durable"),
];

fn works(results: &Results) -> String {
    let mut text = String::new();
    for (work, title, chart) in WORKS {
        let (contenders, variants) = (results.contenders(work), results.variants(work));
        if contenders.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "### {work}: {title}\n\n![{title}](speed/{chart}.svg)\n"
        );
        if work == "W4" {
            let _ = writeln!(
                text,
                "![Requests over SQLite and Redis](speed/servers.svg)\n"
            );
        }
        let _ = writeln!(text, "| | {} |", variants.join(" | "));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(variants.len()));
        for contender in contenders {
            let cells = variants
                .iter()
                .map(|variant| cell(results.figure(work, contender, variant)));
            let _ = writeln!(
                text,
                "| {contender} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        text.push('\n');
    }
    text
}

fn growth(results: &Results) -> String {
    let mut table = "| store | sessions | bytes a session | load | 99th percentile of a save | \
                     sweep of 1,000 | open |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for contender in results.contenders("W7") {
        for sessions in populations(results) {
            let figure = |name: &str| {
                cell(results.figure("W7", contender, &format!("{name} at {sessions}")))
            };
            let cells = ["bytes", "load", "save p99", "sweep", "open"].map(figure);
            if !cells[0].is_empty() {
                let cells = cells.join(" | ");
                let _ = writeln!(table, "| {contender} | {} | {cells} |", thousands(sessions));
            }
        }
    }
    format!("![Loads among ever more sessions](speed/growth.svg)\n\n{table}")
}

fn populations(results: &Results) -> Vec<&str> {
    let variants = results.variants("W7").into_iter();
    variants
        .filter_map(|variant| variant.strip_prefix("load at "))
        .collect()
}
