//! What a job's record tells others: the board, and whoever sends the log of its build.

use std::time::{Duration, SystemTime};

use super::board::{self, Activity};
use super::logs::about::About;
use super::state::{JobDirectory, Record, Stage};
use crate::phase::Status;

/// Milliseconds since 1970.
#[must_use]
pub fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// When a job was handed out, by the wall clock.
#[must_use]
pub fn taken_at(record: &Record) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(record.taken)
}

/// What a record knows of its build, for whoever sends its log.
#[must_use]
pub fn about_of(record: &Record) -> About {
    let build = record.build.clone().unwrap_or_default();
    About {
        arn: arn_of(&build, &record.origin.arn),
        initiator: format!("codepipeline/{}", record.origin.pipeline),
        build_id: build,
        ..About::default()
    }
}

/// The ARN of a build, in the account and region of the pipeline that it is for. Empty if that is not known.
fn arn_of(build: &str, pipeline: &str) -> String {
    match pipeline.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "codepipeline", region, account, ..] => {
            format!("arn:{partition}:codebuild:{region}:{account}:build/{build}")
        }
        _ => String::new(),
    }
}

/// A build's status by CodeBuild's name for it. One that has none is a fault.
#[must_use]
pub fn status_of(name: &str) -> Status {
    let status = Status::from_name(name).filter(|status| *status != Status::InProgress);
    status.unwrap_or(Status::Fault)
}

/// A job as the board has it.
#[must_use]
pub fn job_of(record: &Record) -> board::Job {
    let origin = &record.origin;
    board::Job {
        id: record.job.clone(),
        pipeline: origin.pipeline.clone(),
        stage: origin.stage.clone(),
        action: origin.action.clone(),
        execution: origin.execution.clone(),
        project: record.project.clone(),
    }
}

/// What is left of a build that an earlier agent ended, as the board remembers it.
#[must_use]
pub fn remembered(directory: &JobDirectory, record: &Record) -> Option<board::Build> {
    let Stage::Done {
        status, message, ..
    } = &record.stage
    else {
        return None;
    };
    let ended = record.ended.unwrap_or(record.taken);
    let ended = SystemTime::UNIX_EPOCH + Duration::from_millis(ended);
    Some(board::Build {
        job: job_of(record),
        id: record.build.clone(),
        activity: Activity::Done,
        since: ended,
        taken: taken_at(record),
        ended: Some(ended),
        phases: Vec::new(),
        status: status_of(status),
        message: message.clone(),
        log: Some(directory.log()).filter(|log| log.exists()),
    })
}
