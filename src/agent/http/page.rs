//! Pages for people: the agent, and each of its builds (AGENT-87). They need nothing from elsewhere and run no script; the
//! browser asks again by itself.

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::log::Tail;
use super::status::written;
use crate::agent::board::{Activity, Build, Counter, PhaseRow, Snapshot, State};
use crate::phase::{Phase, Status};
use crate::report::made::{STYLE, escaped};
use crate::units::{render_duration, render_size};

/// What comes to the style of reports.
const MORE_STYLE: &str = include_str!("page.css");

/// Seconds after which a browser asks again: for the agent, and for a build that goes on.
const REFRESH: u8 = 5;
const REFRESH_BUILD: u8 = 3;

/// What stands in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':');

/// Characters of an id that tell builds apart well enough for the eye.
const SHORT: usize = 8;

/// The agent with its builds.
pub(super) fn overview(board: &Snapshot, behind: &[String], now: SystemTime) -> String {
    let about = &board.about;
    let mut html = head(&about.name, Some(REFRESH));
    let (class, word) = state(board, behind);
    html.push_str(&format!(
        "<header><h1>{}</h1><span class=\"badge {class}\">{word}</span><small>{} · {} · runner {} · up {}</small></header>\n",
        escaped(&about.name),
        escaped(&about.action_type),
        escaped(&about.region),
        about.version,
        since(about.since, now)
    ));
    tiles(board, now, &mut html);
    slots(board, &mut html);
    trouble(board, behind, now, &mut html);
    going_on(board, now, &mut html);
    over(board, now, &mut html);
    html.push_str("</main></body></html>\n");
    html
}

/// One build with the end of its log. `is_still` if nobody is to turn the page while it is read.
pub(super) fn build(
    board: &Snapshot,
    build: &Build,
    tail: &Tail,
    is_still: bool,
    now: SystemTime,
) -> String {
    let goes_on = build.ended.is_none() && !is_still;
    let mut html = head(build.name(), goes_on.then_some(REFRESH_BUILD));
    let (project, id) = (escaped(&build.job.project), escaped(build.name()));
    html.push_str(&format!(
        "<nav><a href=\"/\">← {}</a></nav>\n<header><h1>{project}</h1>{}<small class=\"id\">{id}</small></header>\n",
        escaped(&board.about.name),
        badge(build)
    ));
    facts(build, now, &mut html);
    if let Some(message) = &build.message {
        let class = class(build.status);
        html.push_str(&format!(
            "<p class=\"say {class}\"><span>{}</span></p>\n",
            escaped(message)
        ));
    }
    phases(build, now, &mut html);
    log(build, tail, is_still, &mut html);
    html.push_str("</main></body></html>\n");
    html
}

fn head(title: &str, refresh: Option<u8>) -> String {
    let refresh = refresh.map_or_else(String::new, |seconds| {
        format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n{refresh}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}{MORE_STYLE}</style></head>\n<body><main>\n",
        escaped(title)
    )
}

fn state(board: &Snapshot, behind: &[String]) -> (&'static str, &'static str) {
    match &board.state {
        _ if !behind.is_empty() => ("bad", "stuck"),
        State::Starting => ("skip", "starting"),
        State::NoRoom(_) => ("warn", "no room"),
        State::Draining => ("warn", "draining"),
        State::Stopping => ("bad", "stopping"),
        State::Polling if board.poll_failure.is_some() => ("bad", "polling fails"),
        State::Polling if board.free() == 0 => ("live", "busy"),
        State::Polling => ("good", "polling"),
    }
}

fn tiles(board: &Snapshot, now: SystemTime, html: &mut String) {
    let counted = |counter| board.counters.of(counter);
    let marked = |number: u64, class: &'static str| if number > 0 { class } else { "" };
    let broken = [
        Counter::Failed,
        Counter::Faulted,
        Counter::TimedOut,
        Counter::Stopped,
    ];
    let broken: u64 = broken.into_iter().map(counted).sum();
    let good = counted(Counter::Succeeded);
    let busy = format!("{} / {}", board.running.len(), board.slots);
    let polled = board
        .polled
        .map_or_else(|| "–".to_owned(), |polled| since(polled, now));
    html.push_str("<section class=\"tiles\">\n");
    let mut tile = |class: &str, value: &str, what: &str| {
        html.push_str(&format!(
            "<div class=\"tile\"><b class=\"{class}\">{value}</b><span>{what}</span></div>\n"
        ));
    };
    tile("", &busy, "slots in use");
    tile("", &short(counted(Counter::JobsTaken)), "jobs taken");
    tile(marked(good, "good"), &short(good), "succeeded");
    tile(marked(broken, "bad"), &short(broken), "did not succeed");
    tile("", &polled, "since the last poll");
    tile("", &short(board.log_backlog()), "log lines waiting");
    let lost = counted(Counter::LogEventsLost);
    if lost > 0 {
        tile("bad", &short(lost), "log lines lost");
    }
    let removed = counted(Counter::BuildsRemoved);
    if removed > 0 {
        tile("warn", &short(removed), "logs removed for room");
    }
    html.push_str("</section>\n");
}

/// A mark for each slot; there may be more builds than slots after they were made fewer.
fn slots(board: &Snapshot, html: &mut String) {
    let busy = board.running.len();
    let all = board.slots.max(busy);
    if all > 64 {
        return;
    }
    html.push_str("<div class=\"slots\" aria-hidden=\"true\">");
    for slot in 0..all {
        html.push_str(if slot < busy {
            "<i class=\"b-live\"></i>"
        } else {
            "<i></i>"
        });
    }
    html.push_str("</div>\n");
}

fn trouble(board: &Snapshot, behind: &[String], now: SystemTime, html: &mut String) {
    let mut say = |class: &str, text: &str| {
        html.push_str(&format!(
            "<p class=\"say {class}\"><span>{}</span></p>\n",
            escaped(text)
        ));
    };
    if !behind.is_empty() {
        say(
            "bad",
            &format!("No progress any more: {}", behind.join(", ")),
        );
    }
    match &board.state {
        State::NoRoom(reason) => say("warn", &format!("No jobs are taken: {reason}")),
        State::Draining => say(
            "warn",
            "No more jobs are taken; the agent ends with its last build.",
        ),
        State::Stopping => say("bad", "The agent ends its builds."),
        State::Starting | State::Polling => {}
    }
    for doubt in &board.doubts {
        let (job, until) = (&doubt.job, written(doubt.until));
        say(
            "bad",
            &format!(
                "Nobody knows whose job {} of {}/{}/{} is: the answer to its acknowledgement was lost. Unless it is handed out again it is answered with a failure at {until}.",
                job.id, job.pipeline, job.stage, job.action
            ),
        );
    }
    if let Some(failure) = &board.poll_failure {
        let ago = since(failure.at, now);
        say(
            "bad",
            &format!("The last poll failed {ago} ago: {}", failure.message),
        );
    }
    for (what, why) in &board.unsent {
        let kept = "It is kept, and sent when it can be.";
        say("warn", &format!("Could not send {what}: {why}. {kept}"));
    }
}

fn going_on(board: &Snapshot, now: SystemTime, html: &mut String) {
    html.push_str(&format!(
        "<h2>Running <small>{}</small></h2>\n",
        board.running.len()
    ));
    if board.running.is_empty() {
        html.push_str("<div class=\"card empty\">Nothing runs.</div>\n");
        return;
    }
    html.push_str("<div class=\"card\"><table class=\"builds\"><thead><tr><th>Build</th><th>Pipeline</th><th>Now</th><th class=\"ph\">Phases</th><th class=\"n\">Time</th></tr></thead><tbody>\n");
    for build in &board.running {
        let doing = match (build.activity, build.phase()) {
            (Activity::Building, Some(row)) => row.phase.name(),
            (activity, _) => activity.word(),
        };
        html.push_str(&format!(
            "<tr>{}{}<td class=\"now how\"><span class=\"live\">{doing}</span></td><td class=\"ph\">{}</td><td class=\"n\">{}</td></tr>\n",
            named(build),
            origin(build),
            strip(build, now),
            render_duration(build.duration(now))
        ));
    }
    html.push_str("</tbody></table></div>\n");
}

fn over(board: &Snapshot, now: SystemTime, html: &mut String) {
    html.push_str(&format!(
        "<h2>Past <small>the last {}</small></h2>\n",
        board.finished.len()
    ));
    if board.finished.is_empty() {
        html.push_str("<div class=\"card empty\">Nothing was built yet.</div>\n");
        return;
    }
    html.push_str("<div class=\"card\"><table class=\"builds\"><thead><tr><th>Build</th><th>Status</th><th>Pipeline</th><th class=\"ph\">Phases</th><th class=\"n ph\">Time</th><th class=\"n\">Ended</th></tr></thead><tbody>\n");
    for build in &board.finished {
        let ended = build
            .ended
            .map_or_else(String::new, |ended| ago(ended, now));
        html.push_str(&format!(
            "<tr>{}<td class=\"how\">{}</td>{}<td class=\"ph\">{}</td><td class=\"n ph\">{}</td><td class=\"n\">{ended}</td></tr>\n",
            named(build),
            badge(build),
            origin(build),
            strip(build, now),
            render_duration(build.duration(now))
        ));
    }
    html.push_str("</tbody></table></div>\n");
}

/// The cell with a build's name, which leads to its page.
fn named(build: &Build) -> String {
    let id = build.name().rsplit(':').next().unwrap_or_default();
    let short: String = id.chars().take(SHORT).collect();
    let project = escaped(&build.job.project);
    format!(
        "<td class=\"name\"><a href=\"{}\" title=\"{project}\">{project}</a><small class=\"id\" title=\"{}\">{}</small></td>",
        address(build),
        escaped(build.name()),
        escaped(&short)
    )
}

/// The cell with the pipeline that a build is for.
fn origin(build: &Build) -> String {
    let job = &build.job;
    let pipeline = escaped(&job.pipeline);
    let action = format!("{} › {}", escaped(&job.stage), escaped(&job.action));
    format!(
        "<td class=\"name from\"><span title=\"{pipeline}\">{pipeline}</span><small title=\"{action}\">{action}</small></td>"
    )
}

fn address(build: &Build) -> String {
    format!("/builds/{}", utf8_percent_encode(build.name(), PLAIN))
}

/// The phases, each as wide as the time it took.
fn strip(build: &Build, now: SystemTime) -> String {
    let mut strip = String::new();
    for row in shown(build) {
        let took = took(row, build, now);
        strip.push_str(&format!(
            "<i class=\"b-{}\" style=\"flex:{}\" title=\"{} {}\"></i>",
            class(row.status),
            took.as_millis().max(1),
            row.phase.name(),
            render_duration(took)
        ));
    }
    format!("<div class=\"strip small\">{strip}</div>")
}

/// All phases but the one that says that it was the last.
fn shown(build: &Build) -> impl Iterator<Item = &PhaseRow> {
    build
        .phases
        .iter()
        .filter(|row| row.phase != Phase::Completed)
}

fn took(row: &PhaseRow, build: &Build, now: SystemTime) -> Duration {
    let until = build.ended.unwrap_or(now);
    let so_far = || until.duration_since(row.since).unwrap_or_default();
    row.duration.unwrap_or_else(so_far)
}

const fn class(status: Status) -> &'static str {
    match status {
        Status::InProgress => "live",
        Status::Succeeded => "good",
        Status::Failed => "bad",
        Status::Fault | Status::TimedOut => "warn",
        Status::Stopped => "skip",
    }
}

fn badge(build: &Build) -> String {
    format!(
        "<span class=\"badge {}\">{}</span>",
        class(build.status),
        build.status.name()
    )
}

fn facts(build: &Build, now: SystemTime, html: &mut String) {
    let job = &build.job;
    html.push_str("<dl class=\"card facts\">\n");
    let mut fact = |what: &str, value: &str| {
        if !value.is_empty() {
            html.push_str(&format!("<dt>{what}</dt><dd>{value}</dd>\n"));
        }
    };
    let place = [&job.pipeline, &job.stage, &job.action]
        .map(|part| escaped(part))
        .join(" › ");
    fact("Pipeline", &place);
    fact("Execution", &escaped(&job.execution));
    fact("Job", &escaped(&job.id));
    fact(
        "Taken",
        &format!(
            "{} <small>{}</small>",
            ago(build.taken, now),
            readable(build.taken)
        ),
    );
    match build.ended {
        Some(ended) => fact(
            "Ended",
            &format!("{} <small>{}</small>", ago(ended, now), readable(ended)),
        ),
        None => fact(
            "Now",
            &format!("{} for {}", build.activity.word(), since(build.since, now)),
        ),
    }
    fact("Time", &render_duration(build.duration(now)));
    html.push_str("</dl>\n");
}

fn phases(build: &Build, now: SystemTime, html: &mut String) {
    if build.phases.is_empty() {
        return;
    }
    let longest = shown(build)
        .map(|row| took(row, build, now))
        .max()
        .unwrap_or_default();
    html.push_str("<h2>Phases</h2>\n<div class=\"card\"><table class=\"phases\"><thead><tr><th>Phase</th><th>Status</th><th class=\"n\">Time</th></tr></thead><tbody>\n");
    for row in shown(build) {
        let took = took(row, build, now);
        let part = took.as_secs_f64() / longest.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0;
        let class = class(row.status);
        html.push_str(&format!(
            "<tr><td>{}</td><td><span class=\"badge {class}\">{}</span></td><td class=\"n\"><span class=\"bar\"><i class=\"b-{class}\" style=\"width:{part:.1}%\"></i></span><span>{}</span></td></tr>\n",
            row.phase.name(),
            row.status.name(),
            render_duration(took)
        ));
    }
    html.push_str("</tbody></table></div>\n");
}

fn log(build: &Build, tail: &Tail, is_still: bool, html: &mut String) {
    let address = address(build);
    let turn = match (build.ended.is_some(), is_still) {
        (true, _) => String::new(),
        (false, false) => format!(" <a href=\"{address}/still\">hold still</a>"),
        (false, true) => format!(" <a href=\"{address}\">follow</a>"),
    };
    let whole = if tail.is_there {
        format!(" <a href=\"{address}/log\">all of it</a>")
    } else {
        String::new()
    };
    html.push_str(&format!("<h2>Log{whole}{turn}</h2>\n"));
    if tail.text.is_empty() {
        let why = match (build.ended.is_some(), tail.is_there) {
            (false, _) => "Nothing was written yet.",
            (true, true) => "Nothing was written.",
            (true, false) if build.log.is_some() => "This log is not kept any more.",
            (true, false) => "There was no log.",
        };
        html.push_str(&format!("<div class=\"card empty\">{why}</div>\n"));
        return;
    }
    if tail.before > 0 {
        html.push_str(&format!(
            "<p class=\"note\">{} before this are not shown here.</p>\n",
            render_size(tail.before)
        ));
    }
    // What is in such a box begins at its end: the newest line stays in sight when the page comes again.
    html.push_str(&format!(
        "<div class=\"log\"><pre>{}</pre></div>\n",
        escaped(&tail.text)
    ));
}

/// How long ago something was.
fn since(then: SystemTime, now: SystemTime) -> String {
    let passed = now.duration_since(then).unwrap_or_default();
    match passed.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ TWO_DAYS.. => {
            format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24)
        }
        _ => render_duration(passed),
    }
}

/// Seconds after which nobody counts hours.
const TWO_DAYS: u64 = 2 * 86_400;

/// A moment as people read it.
fn readable(time: SystemTime) -> String {
    let written = written(time);
    let (date, clock) = written.split_once('T').unwrap_or((&written, ""));
    format!("{date} {} UTC", clock.get(..8).unwrap_or(clock))
}

/// A number that fits into a tile.
fn short(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1000),
        _ => format!("{}M", number / 1_000_000),
    }
}

fn ago(then: SystemTime, now: SystemTime) -> String {
    format!(
        "<time datetime=\"{0}\" title=\"{0}\">{1} ago</time>",
        written(then),
        since(then, now)
    )
}
