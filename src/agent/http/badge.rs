//! Badges: how a build, or the last one of a project, ended, as a small picture (AGENT-88).

use crate::phase::Status;

/// What stands on the left.
const LABEL: &str = "build";

/// Space around a text, in pixels.
const PADDING: usize = 7;

/// The picture; nothing is known of `None`.
pub(super) fn badge(status: Option<Status>) -> String {
    let (word, colour) = match status {
        None => ("unknown", "#6b747c"),
        Some(Status::InProgress) => ("running", "#2f6fb7"),
        Some(Status::Succeeded) => ("passing", "#1a7f4b"),
        Some(Status::Failed) => ("failing", "#c4314b"),
        Some(Status::Fault) => ("fault", "#a86200"),
        Some(Status::TimedOut) => ("timed out", "#a86200"),
        Some(Status::Stopped) => ("stopped", "#6b747c"),
    };
    let (left, right) = (width(LABEL), width(word));
    let (left_box, right_box) = (left + 2 * PADDING, right + 2 * PADDING);
    let all = left_box + right_box;
    let (left_middle, right_middle) = (left_box / 2, left_box + right_box / 2);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" role=\"img\" aria-label=\"{LABEL}: {word}\">\
         <title>{LABEL}: {word}</title>\
         <clipPath id=\"r\"><rect width=\"{all}\" height=\"20\" rx=\"4\"/></clipPath>\
         <g clip-path=\"url(#r)\"><rect width=\"{left_box}\" height=\"20\" fill=\"#3b4248\"/>\
         <rect x=\"{left_box}\" width=\"{right_box}\" height=\"20\" fill=\"{colour}\"/></g>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,Geneva,sans-serif\" font-size=\"{SIZE}\">\
         <text x=\"{left_middle}\" y=\"14\" textLength=\"{left}\">{LABEL}</text>\
         <text x=\"{right_middle}\" y=\"14\" textLength=\"{right}\">{word}</text></g></svg>\n"
    )
}

/// Height of the letters, in pixels.
const SIZE: usize = 11;

/// Pixels that a word takes, by what letters take in Verdana, which other fonts are much like. `textLength` makes every font keep to it.
fn width(word: &str) -> usize {
    let thousandths = word.chars().map(|letter| match letter {
        'i' | 'l' => 274,
        'f' | ' ' => 352,
        'r' | 't' => 410,
        'c' | 's' => 521,
        'w' => 818,
        'm' => 973,
        _ => 615,
    });
    (thousandths.sum::<usize>() * SIZE).div_ceil(1000)
}
