//! `/status.json`: the board for programs (AGENT-85).

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::agent::board::{Build, Counter, Doubt, PhaseRow, Snapshot};

/// Version of the form; grows with a change that a reader has to know of.
const FORMAT: u32 = 1;

/// The board as JSON; `behind` are loops that are stuck.
pub(super) fn status(board: &Snapshot, behind: &[String], now: SystemTime) -> Value {
    let about = &board.about;
    let counters: Map<String, Value> = Counter::ALL
        .iter()
        .map(|counter| (counter.key().to_owned(), json!(board.counters.of(*counter))))
        .collect();
    let builds = |builds: &mut dyn Iterator<Item = &Build>| -> Vec<Value> {
        builds.map(|one| build(one, now)).collect()
    };
    json!({
        "format": FORMAT,
        "time": written(now),
        "name": about.name,
        "version": about.version,
        "actionType": about.action_type,
        "region": about.region,
        "pid": about.pid,
        "startTime": written(about.since),
        "state": board.state.word(),
        "reason": board.state.reason(),
        "stuck": behind,
        "slots": board.slots,
        "freeSlots": board.free(),
        "lastPollTime": board.polled.map(written),
        "pollFailure": board.poll_failure.as_ref().map(|failure| json!({
            "time": written(failure.at),
            "message": failure.message,
        })),
        "logEventsWaiting": board.log_backlog(),
        "unsent": board.unsent,
        "counters": counters,
        "inDoubt": board.doubts.iter().map(doubt).collect::<Vec<Value>>(),
        "running": builds(&mut board.running.iter().map(AsRef::as_ref)),
        "finished": builds(&mut board.finished.iter().map(AsRef::as_ref)),
    })
}

fn doubt(doubt: &Doubt) -> Value {
    json!({
        "jobId": doubt.job.id,
        "pipeline": doubt.job.pipeline,
        "stage": doubt.job.stage,
        "action": doubt.job.action,
        "untilTime": written(doubt.until),
    })
}

fn build(build: &Build, now: SystemTime) -> Value {
    json!({
        "buildId": build.id,
        "jobId": build.job.id,
        "pipeline": build.job.pipeline,
        "stage": build.job.stage,
        "action": build.job.action,
        "pipelineExecutionId": build.job.execution,
        "projectName": build.job.project,
        "activity": build.activity.word(),
        "activitySince": written(build.since),
        "buildStatus": build.status.name(),
        "message": build.message,
        "startTime": written(build.taken),
        "endTime": build.ended.map(written),
        "durationSeconds": build.duration(now).as_secs_f64(),
        "phases": build.phases.iter().map(phase).collect::<Vec<Value>>(),
    })
}

fn phase(row: &PhaseRow) -> Value {
    json!({
        "phase": row.phase.name(),
        "phaseStatus": row.status.name(),
        "startTime": written(row.since),
        "durationSeconds": row.duration.map(|took| took.as_secs_f64()),
    })
}

/// A moment as RFC 3339 has it, in UTC, to the millisecond.
pub(super) fn written(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    format!("{timestamp:.3}")
}
