//! Answers a job, until that is final (AGENT-24, AGENT-25).

use std::time::{Duration, Instant};

use super::answer::{Answer, FailureKind};
use super::board::Counter;
use super::pipeline::{ErrorKind, Pipeline};
use super::poll::Backoff;
use super::progress::{Pulse, in_rounds};
use super::serve::Agent;
use super::state::{JobDirectory, Record, Stage};

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// CodePipeline took it.
    Taken,
    /// CodePipeline has one already, and one was given before whose receipt was lost.
    Before,
    /// CodePipeline wants none: the job was stopped, or its time is over there.
    Unwanted,
    /// CodePipeline takes none, whatever is in it.
    Refused,
    /// CodePipeline could not be told as long as it waits.
    Late,
    /// The agent leaves first: the next one answers.
    Left,
}

/// What one attempt calls for.
enum Next {
    Final(Delivered),
    Again(Answer),
    Later { why: String, refused: bool },
}

/// Writes the answer down, then gives it until that is final, or until the deadline.
pub async fn deliver<P: Pipeline>(
    agent: &Agent<P>,
    directory: &JobDirectory,
    record: &mut Record,
    answer: Answer,
    deadline: Instant,
    pulse: &Pulse,
) -> Delivered {
    let job = record.job.clone();
    // An earlier agent may have given it.
    let mut receipt_lost = matches!(record.stage, Stage::Answering(_));
    let mut answer = intend(agent, directory, record, answer, pulse).await;
    let mut pause = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut tries: u32 = 0;
    loop {
        pulse.beat(Instant::now());
        match attempt(agent, record, &answer).await {
            Next::Final(Delivered::Unwanted) if receipt_lost => return Delivered::Before,
            Next::Final(delivered) => return delivered,
            Next::Again(less) => answer = intend(agent, directory, record, less, pulse).await,
            Next::Later { why, refused } => {
                receipt_lost |= !refused;
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
        if Instant::now() >= deadline {
            let message = "the answer is given up: CodePipeline has given the action up by now";
            agent.log.error(message, &[("job", &job)]);
            return Delivered::Late;
        }
        if tries > 0 {
            tokio::select! {
                () = in_rounds(pulse, tokio::time::sleep(pause.pause())) => {}
                () = agent.leave.requested() => return Delivered::Left,
            }
        }
    }
}

/// From here on a crash changes nothing: the next agent gives the same answer.
async fn intend<P: Pipeline>(
    agent: &Agent<P>,
    directory: &JobDirectory,
    record: &mut Record,
    answer: Answer,
    pulse: &Pulse,
) -> Answer {
    record.stage = Stage::Answering(answer.clone());
    let mut written = directory.write(record);
    if written.is_err() {
        // What the build needed makes room, and is needed no more.
        in_rounds(pulse, directory.clear()).await;
        written = directory.write(record);
    }
    if let Err(error) = written {
        let message = format!(
            "the answer could not be written down: {error}; should the agent end now, the job is answered with that"
        );
        agent.log.error(&message, &[("job", &record.job)]);
    }
    answer
}

async fn attempt<P: Pipeline>(agent: &Agent<P>, record: &Record, answer: &Answer) -> Next {
    let job = record.job.as_str();
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
            less(agent, record, answer, error.kind == ErrorKind::TooLarge)
        }
        _ => Next::Later {
            why: error.to_string(),
            refused: error.refused,
        },
    }
}

/// CodePipeline does not take the answer as it is.
fn less<P: Pipeline>(agent: &Agent<P>, record: &Record, answer: &Answer, too_large: bool) -> Next {
    let job = record.job.as_str();
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
                record.build.clone(),
            ))
        }
        Answer::Failure(_) => {
            let message = "CodePipeline takes no answer to the job";
            agent.log.error(message, &[("job", job)]);
            Next::Final(Delivered::Refused)
        }
    }
}
