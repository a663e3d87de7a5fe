//! An audit as people read it.

use std::fmt;

use super::{Audit, Finding, Verdict};

/// Characters of a line.
const WIDTH: usize = 96;

/// Characters before the text of a finding: its id and its verdict.
const MARGIN: usize = 23;

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.profile.title())?;
        for finding in &self.findings {
            write_finding(f, finding)?;
        }
        let count = |wanted: fn(&Verdict) -> bool| {
            let findings = self.findings.iter();
            findings.filter(|finding| wanted(&finding.verdict)).count()
        };
        let hold = count(|verdict| matches!(verdict, Verdict::Holds { .. }));
        let open = count(|verdict| matches!(verdict, Verdict::Application { .. }));
        let fail = count(Verdict::is_failure);
        writeln!(
            f,
            "\nOf {} requirements {hold} hold, {fail} do not, and {open} are the application's to \
             meet.",
            self.findings.len()
        )
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let (verdict, text) = match &finding.verdict {
        Verdict::Holds { because } => ("holds", because),
        Verdict::Fails { because, .. } => ("DOES NOT", because),
        Verdict::Application { must } => ("application", must),
    };
    let requirement = match finding.is_recommended {
        true => format!("{} (recommended)", finding.requirement),
        false => finding.requirement.to_owned(),
    };
    let head = format!("{:<10} {verdict:<11} ", finding.id);
    write_wrapped(f, &head, MARGIN, &requirement)?;
    let indented = MARGIN + 2;
    write_wrapped(f, "", indented, text)?;
    if let Verdict::Fails { mend, .. } = finding.verdict {
        write_wrapped(f, "", indented, &format!("To change it: {mend}"))?;
    }
    Ok(())
}

/// A paragraph beside a margin, in whose first line `head` stands.
fn write_wrapped(f: &mut fmt::Formatter<'_>, head: &str, margin: usize, text: &str) -> fmt::Result {
    let mut line = format!("{head:<margin$}");
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = " ".repeat(margin);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(f, "{line}")
}
