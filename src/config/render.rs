//! Shows problems to people, as a compiler would, and to programs, as JSON.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::explain::Explained;
use super::problem::Problem;

/// What one file may cost a terminal or a log.
const MOST_BYTES: usize = 18_000;

/// A message that quotes the file is cut here.
const LONGEST_MESSAGE: usize = 600;

/// Errors and warnings with their lines, under 20 kB in all.
pub fn text(errors: &[Problem], warnings: &[Problem], colour: bool) -> String {
    let all = errors.iter().map(|problem| (true, problem));
    let all = all.chain(warnings.iter().map(|problem| (false, problem)));
    let mut out = String::new();
    for (shown, (is_error, problem)) in all.enumerate() {
        let one = one(problem, is_error, colour);
        if out.len() + one.len() > MOST_BYTES {
            let left = errors.len() + warnings.len() - shown;
            out.push_str(&format!("… and {left} more problems\n"));
            break;
        }
        out.push_str(&one);
    }
    out
}

fn one(problem: &Problem, is_error: bool, colour: bool) -> String {
    let word = match (is_error, colour) {
        (true, true) => "\u{1b}[1;31merror\u{1b}[0m",
        (true, false) => "error",
        (false, true) => "\u{1b}[1;33mwarning\u{1b}[0m",
        (false, false) => "warning",
    };
    let Problem { file, line, column, message, .. } = problem;
    let (file, message) = (cut(file), cut(message));
    let mut out = format!("{file}:{line}:{column}: {word}: {message}\n");
    let help = problem.suggestion.as_deref().map(cut);
    if problem.source_line.is_empty() {
        if let Some(help) = help {
            out.push_str(&format!("  = help: {help}\n"));
        }
    } else {
        out.push_str(&snippet(problem, is_error, help.as_deref(), colour));
        out.push('\n');
    }
    out.push('\n');
    out
}

fn snippet(problem: &Problem, is_error: bool, help: Option<&str>, colour: bool) -> String {
    let level = if is_error { Level::ERROR } else { Level::WARNING };
    let source = Snippet::source(problem.source_line.as_str())
        .line_start(problem.line)
        .path(None::<&str>)
        .annotation(AnnotationKind::Primary.span(problem.mark.clone()));
    let group = Group::with_level(level).element(source);
    let group = match help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    };
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    // Lines come cut; the renderer must not cut them again by a width of its own.
    renderer.term_width(400).render(&[group])
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    errors: Vec<Line<'a>>,
    warnings: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Explained<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: String,
    suggestion: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The same as one JSON object: `{ok, errors, warnings}`; `omitted` counts what was left out to
/// stay under 20 kB.
pub fn json(ok: bool, errors: &[Problem], warnings: &[Problem]) -> String {
    outcome(ok, errors, warnings, None)
}

/// As [`json`] of a file without errors, with the arithmetic under `explain`, which may be longer.
pub fn json_explained(ok: bool, warnings: &[Problem], explain: &Explained<'_>) -> String {
    outcome(ok, &[], warnings, Some(explain))
}

fn outcome(
    ok: bool,
    errors: &[Problem],
    warnings: &[Problem],
    explain: Option<&Explained<'_>>,
) -> String {
    let mut room = MOST_BYTES;
    let errors_shown = lines(errors, &mut room);
    let warnings_shown = lines(warnings, &mut room);
    let omitted = errors.len() + warnings.len() - errors_shown.len() - warnings_shown.len();
    let (errors, warnings) = (errors_shown, warnings_shown);
    let outcome = Outcome { ok, errors, warnings, omitted, explain };
    // Strings and numbers under string keys always serialise.
    serde_json::to_string(&outcome).unwrap_or_default()
}

fn lines<'a>(problems: &'a [Problem], room: &mut usize) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for problem in problems {
        let line = Line {
            file: &problem.file,
            line: problem.line,
            column: problem.column,
            message: cut(&problem.message),
            suggestion: problem.suggestion.as_deref().map(cut),
        };
        let size = serde_json::to_string(&line).map_or(0, |text| text.len() + 1);
        if size > *room {
            break;
        }
        *room -= size;
        lines.push(line);
    }
    lines
}
