//! Answers a job, until that is final (AGENT-24, AGENT-25).

use std::time::Duration;

use super::answer::{Answer, FailureKind};
use super::board::Counter;
use super::pipeline::{ErrorKind, Pipeline};
use super::poll::Backoff;
use super::serve::Agent;
use super::state::{JobDirectory, Record, Stage};
use crate::event::stamp;

/// How long an answer is tried: after that the pipeline has given the action up itself (documented).
const PATIENCE: Duration = Duration::from_hours(24);

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// CodePipeline took it.
    Taken,
    /// CodePipeline wants none: the job was answered, stopped or given up.
    Unwanted,
    /// The agent leaves first: the next one answers.
    Left,
}

/// What one attempt calls for.
enum Next {
    Final(Delivered),
    Again(Answer),
    Later(String),
}

/// Writes the answer down, then gives it until that is final.
pub async fn deliver<P: Pipeline>(
    agent: &Agent<P>,
    directory: &JobDirectory,
    record: &mut Record,
    answer: Answer,
) -> Delivered {
    let job = record.job.clone();
    let mut answer = intend(agent, directory, record, answer);
    let mut pause = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut tries: u32 = 0;
    loop {
        match attempt(agent, &job, &answer).await {
            Next::Final(delivered) => return delivered,
            Next::Again(less) => answer = intend(agent, directory, record, less),
            Next::Later(why) => {
                agent.board.count(Counter::AnswerRetries, 1);
                if tries.is_multiple_of(10) {
                    agent.log.warn(
                        &format!("{why}; the answer is given again until it is taken"),
                        &[("job", &job)],
                    );
                }
                tries += 1;
            }
        }
        if age(record) > PATIENCE {
            let message = "the answer is given up: CodePipeline has given the action up by now";
            agent.log.error(message, &[("job", &job)]);
            return Delivered::Unwanted;
        }
        if tries > 0 {
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                () = agent.leave.requested() => return Delivered::Left,
            }
        }
    }
}

fn age(record: &Record) -> Duration {
    let since = std::time::UNIX_EPOCH + Duration::from_millis(record.taken);
    stamp().duration_since(since).unwrap_or_default()
}

/// From here on a crash changes nothing: the next agent gives the same answer.
fn intend<P: Pipeline>(
    agent: &Agent<P>,
    directory: &JobDirectory,
    record: &mut Record,
    answer: Answer,
) -> Answer {
    record.stage = Stage::Answering(answer.clone());
    let written = directory.write(record).or_else(|_| {
        // What the build needed makes room, and is needed no more.
        directory.clear();
        directory.write(record)
    });
    if let Err(error) = written {
        let message = format!(
            "the answer could not be written down: {error}; should the agent end now, the job is answered with that"
        );
        agent.log.error(&message, &[("job", &record.job)]);
    }
    answer
}

async fn attempt<P: Pipeline>(agent: &Agent<P>, job: &str, answer: &Answer) -> Next {
    let told = match answer {
        Answer::Success(success) => agent.pipeline.succeed(job, success).await,
        Answer::Failure(failure) => agent.pipeline.fail(job, failure).await,
    };
    let Err(error) = told else {
        return Next::Final(Delivered::Taken);
    };
    match error.kind {
        ErrorKind::InvalidState | ErrorKind::NotFound => {
            let message =
                format!("{error}; the job was answered before, or its pipeline has given it up");
            agent.log.warn(&message, &[("job", job)]);
            Next::Final(Delivered::Unwanted)
        }
        ErrorKind::TooLarge | ErrorKind::Invalid => {
            less(agent, job, answer, error.kind == ErrorKind::TooLarge)
        }
        _ => Next::Later(error.to_string()),
    }
}

/// CodePipeline does not take the answer as it is.
fn less<P: Pipeline>(agent: &Agent<P>, job: &str, answer: &Answer, too_large: bool) -> Next {
    if let Some((less, missing)) = answer.shortened(too_large) {
        let message =
            format!("CodePipeline does not take the answer: given again without {missing}");
        agent.log.warn(&message, &[("job", job)]);
        return Next::Again(less);
    }
    match answer {
        Answer::Success(_) => {
            let message = "CodePipeline does not take that the build succeeded";
            agent.log.error(message, &[("job", job)]);
            Next::Again(Answer::failure(
                FailureKind::SystemUnavailable,
                message,
                None,
            ))
        }
        Answer::Failure(_) => {
            let message = "CodePipeline takes no answer to the job";
            agent.log.error(message, &[("job", job)]);
            Next::Final(Delivered::Unwanted)
        }
    }
}
