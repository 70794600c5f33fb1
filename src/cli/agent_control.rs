//! `runner agent drain` and `runner agent status`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::agent::{DrainArgs, StatusArgs};
use super::complain::complain;
use super::{machine, print};
use crate::agent::control::ask;
use crate::build::ExitCode;

/// Tells an agent to end with its last build.
pub(super) fn drain(args: &DrainArgs) -> ExitCode {
    match question(args.state.as_deref(), "drain") {
        Ok(_) => {
            complain("the agent takes no more jobs, and ends with its last build\n");
            ExitCode::Succeeded
        }
        Err(code) => code,
    }
}

/// Shows what an agent does.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    match question(args.state.as_deref(), "status") {
        Ok(status) if args.json => print(format!("{status:#}\n").as_bytes()),
        Ok(status) => print(table(&status).as_bytes()),
        Err(code) => code,
    }
}

fn question(state: Option<&Path>, question: &str) -> Result<Value, ExitCode> {
    let state = state.map(Path::to_owned).or_else(machine::agent_directory);
    let Some(state) = state else {
        complain("error: there is no home directory: name the agent's directory with --state\n");
        return Err(ExitCode::Fault);
    };
    match ask(&state, question) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            complain(&format!(
                "error: no agent runs with {}\n  help: name its directory with --state\n",
                shown(&state)
            ));
            Err(ExitCode::Fault)
        }
        Err(error) => {
            complain(&format!(
                "error: could not ask the agent of {}: {error}\n",
                shown(&state)
            ));
            Err(ExitCode::Fault)
        }
    }
}

fn shown(state: &Path) -> String {
    let here: PathBuf = machine::directory().map_or_else(|_| state.to_owned(), |at| at.join(state));
    here.display().to_string()
}

/// What a message begins with: the whole of it is in the answer, and on the page.
fn first_line(row: &Value) -> String {
    let message = row["message"].as_str().unwrap_or_default();
    message.lines().next().unwrap_or_default().to_owned()
}

/// For people.
fn table(status: &Value) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "agent     {} in {}, runner {}, pid {}, since {}\n",
        text(status, "actionType"),
        text(status, "region"),
        text(status, "version"),
        status["pid"],
        text(status, "since"),
    );
    let reason = match text(status, "reason").as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    out.push_str(&format!("state     {}{reason}\n", text(status, "state")));
    out.push_str(&format!(
        "slots     {} of {} free\n",
        status["free"], status["slots"]
    ));
    let polled = match text(status, "polled").as_str() {
        "" => "never".to_owned(),
        polled => polled.to_owned(),
    };
    out.push_str(&format!("answered  {polled}\n"));
    if let Some(failure) = status["pollFailure"].as_str() {
        out.push_str(&format!("failure   {failure}\n"));
    }
    for (what, why) in status["unsent"].as_object().into_iter().flatten() {
        let why = why.as_str().unwrap_or_default();
        out.push_str(&format!("not sent  {what}: {why}\n"));
    }
    for (title, list, last, time) in [
        (
            "in doubt, answered with a failure at",
            "inDoubt",
            "until",
            "since",
        ),
        ("running", "running", "activity", "since"),
        ("ended", "finished", "status", "ended"),
    ] {
        let rows = status[list].as_array().into_iter().flatten();
        let rows: Vec<[String; 5]> = rows
            .map(|row| {
                let name = match text(row, "build").as_str() {
                    "" => text(row, "job"),
                    build => build.to_owned(),
                };
                let phase = match text(row, "phase").as_str() {
                    "" => text(row, last),
                    phase => format!("{} {phase}", text(row, last)),
                };
                let from = format!(
                    "{}/{}/{}",
                    text(row, "pipeline"),
                    text(row, "stage"),
                    text(row, "action")
                );
                [name, phase, text(row, time), from, first_line(row)]
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        out.push_str(&format!("\n{title}\n"));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [name, what, time, from, why] in &rows {
            out.push_str(&format!(
                "  {name:<first$}  {what:<second$}  {time}  {from}\n"
            ));
            if !why.is_empty() {
                out.push_str(&format!("  {:<first$}  {why}\n", ""));
            }
        }
    }
    out
}
