//! What the forms of several pages share: fields, and what is wrong with them.

use maud::{Markup, html};

/// Why a form was not accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem<'a> {
    pub(super) text: &'a str,
    /// The fields that it is about. The last one gets the focus; with none, the button.
    pub(super) fields: &'static [&'static str],
}

/// The id of its text.
const PROBLEM: &str = "problem";

impl Problem<'_> {
    fn is_about(&self, field: &str) -> bool {
        self.fields.contains(&field)
    }
}

/// What is wrong with the form, above it.
pub(super) fn failed(problem: Option<&Problem<'_>>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            p.failed id=(PROBLEM) role="alert" { (problem.text) }
        }
    }
}

/// How a field is tied to what is said of it.
struct Tie {
    is_wrong: bool,
    has_focus: bool,
    described_by: Option<String>,
}

impl Tie {
    fn of(field: &str, hint: Option<&str>, problem: Option<&Problem<'_>>) -> Self {
        let is_wrong = problem.is_some_and(|problem| problem.is_about(field));
        let has_focus = problem.is_some_and(|problem| problem.fields.last() == Some(&field));
        let hint = hint.map(|_| format!("{field}-hint"));
        let ids: Vec<_> = is_wrong
            .then(|| PROBLEM.to_owned())
            .into_iter()
            .chain(hint)
            .collect();
        Self {
            is_wrong,
            has_focus,
            described_by: (!ids.is_empty()).then(|| ids.join(" ")),
        }
    }
}

pub(super) fn name_field(name: &str, problem: Option<&Problem<'_>>) -> Markup {
    let tie = Tie::of("name", None, problem);
    html! {
        label for="name" { "User name" }
        input id="name" name="name" value=(name) required autocomplete="username"
            autocapitalize="none" spellcheck="false" autofocus[tie.has_focus]
            aria-invalid=[tie.is_wrong.then_some("true")] aria-describedby=[tie.described_by];
    }
}

pub(super) fn password_field(
    autocomplete: &str,
    hint: Option<&str>,
    problem: Option<&Problem<'_>>,
) -> Markup {
    let tie = Tie::of("password", hint, problem);
    html! {
        label for="password" { "Password" }
        input id="password" type="password" name="password" required autocomplete=(autocomplete)
            autofocus[tie.has_focus] aria-invalid=[tie.is_wrong.then_some("true")]
            aria-describedby=[tie.described_by];
        @if let Some(hint) = hint {
            p.hint id="password-hint" { (hint) }
        }
    }
}

/// The form's button.
pub(super) fn submit(label: &str, problem: Option<&Problem<'_>>) -> Markup {
    let has_focus = problem.is_some_and(|problem| problem.fields.is_empty());
    let described_by = has_focus.then_some(PROBLEM);
    html! { button autofocus[has_focus] aria-describedby=[described_by] { (label) } }
}
