//! CloudWatch Logs (AGENT-61, AGENT-65, AGENT-66).

use std::error::Error as StdError;
use std::sync::Arc;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::batch::{Limits, PUT_LOG_EVENTS};
use super::lines::LogEvent;
use super::route::{Chosen, Clients, Route};
use super::ship::{Destination, Refused};
use crate::aws;

/// One log stream.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    clients: Arc<Clients>,
    route: Chosen,
    group: String,
    stream: String,
    /// Whether the stream is known to be there.
    is_there: bool,
}

impl CloudWatch {
    /// A stream, which is made where it is missing, and so is its group.
    #[must_use]
    pub const fn new(clients: Arc<Clients>, route: Chosen, group: String, stream: String) -> Self {
        Self {
            clients,
            route,
            group,
            stream,
            is_there: false,
        }
    }

    fn client(&self) -> Result<&Client, String> {
        let route = self.route.get().unwrap_or(Route::Directly);
        let client = self.clients.client(route);
        client.map_err(|error| {
            format!(
                "could not send to the log group {} through a proxy, as `proxy.logs` asks: {error}",
                self.group
            )
        })
    }

    async fn make(&mut self) -> Result<(), String> {
        if self.is_there {
            return Ok(());
        }
        if !self.make_stream().await? {
            self.make_group().await?;
            if !self.make_stream().await? {
                return Err(format!("the log group {} went away", self.group));
            }
        }
        self.is_there = true;
        Ok(())
    }

    /// False if there is no group that it could be in.
    async fn make_stream(&self) -> Result<bool, String> {
        let made = self
            .client()?
            .create_log_stream()
            .log_group_name(&self.group)
            .log_stream_name(&self.stream)
            .send()
            .await;
        match made {
            Ok(_) => Ok(true),
            Err(error) => match code(&error) {
                Some("ResourceAlreadyExistsException") => Ok(true),
                Some("ResourceNotFoundException") => Ok(false),
                _ => {
                    let (stream, group) = (&self.stream, &self.group);
                    let doing = format!("create the log stream {stream} in {group}");
                    Err(told(&doing, &error))
                }
            },
        }
    }

    async fn make_group(&self) -> Result<(), String> {
        let made = self
            .client()?
            .create_log_group()
            .log_group_name(&self.group)
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            // Another build was faster.
            Err(error) if code(&error) == Some("ResourceAlreadyExistsException") => Ok(()),
            Err(error) => Err(told(
                &format!("create the log group {}", self.group),
                &error,
            )),
        }
    }
}

impl Destination for CloudWatch {
    type Item = LogEvent;

    fn limits(&self) -> Limits {
        PUT_LOG_EVENTS
    }

    fn route(&self) -> Option<Route> {
        self.route.get()
    }

    async fn put(&mut self, items: &mut Vec<LogEvent>) -> Result<Refused, String> {
        self.make().await?;
        let events = items.iter().filter_map(|item| {
            let event = InputLogEvent::builder()
                .timestamp(item.time)
                .message(&item.message);
            event.build().ok()
        });
        let put = self
            .client()?
            .put_log_events()
            .log_group_name(&self.group)
            .log_stream_name(&self.stream)
            .set_log_events(Some(events.collect()))
            .send()
            .await;
        let refused = match put {
            Ok(answer) => rejected(&answer, items.len()),
            Err(error) => match code(&error) {
                Some("DataAlreadyAcceptedException") => Refused::default(),
                Some("InvalidParameterException") => Refused {
                    items: items.len() as u64,
                    why: told("send them to CloudWatch Logs", &error),
                },
                code => {
                    self.is_there = code != Some("ResourceNotFoundException");
                    return Err(told(
                        &format!("send to the log group {}", self.group),
                        &error,
                    ));
                }
            },
        };
        items.clear();
        Ok(refused)
    }
}

/// What of a request that was accepted was not.
fn rejected(answer: &PutLogEventsOutput, items: usize) -> Refused {
    let Some(info) = answer.rejected_log_events_info() else {
        return Refused::default();
    };
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let expired = index(info.expired_log_event_end_index()).unwrap_or(0);
    let old = index(info.too_old_log_event_end_index()).unwrap_or(0);
    let new = index(info.too_new_log_event_start_index()).unwrap_or(items);
    let (behind, ahead) = (old.max(expired).min(items), items.saturating_sub(new));
    let what = match (behind, ahead) {
        (0, 0) => return Refused::default(),
        (_, 0) if expired >= old => "older than the group keeps anything",
        (_, 0) => "older than 14 days",
        (0, _) => "this machine's clock is more than two hours ahead",
        _ => "more than 14 days back or two hours ahead",
    };
    Refused {
        items: (behind + ahead).min(items) as u64,
        why: format!("refused by CloudWatch Logs: {what}"),
    }
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

/// What went wrong, in one line.
pub(super) fn told<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let why = match error.as_service_error() {
        None => aws::unanswered(error, None).why,
        Some(service) => {
            let code = service.code().unwrap_or("an error without a name");
            format!(
                "{code}: {}",
                service.message().unwrap_or("no reason was given")
            )
        }
    };
    format!("could not {doing}: {}", why.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;

    use super::*;

    #[test]
    fn what_was_rejected_is_counted_once() {
        // Expired until, too old until, too new from; how many of ten, and a word of why.
        let table = [
            (None, None, None, 0, ""),
            (Some(3), None, None, 3, "keeps"),
            (Some(2), Some(3), None, 3, "14 days"),
            (None, None, Some(8), 2, "clock"),
            (None, Some(4), Some(8), 6, "or two hours"),
            (Some(10), None, None, 10, "keeps"),
            (Some(12), None, Some(0), 10, "or two hours"),
            (Some(-1), None, None, 0, ""),
        ];
        for (expired, old, new, items, why) in table {
            let info = RejectedLogEventsInfo::builder()
                .set_expired_log_event_end_index(expired)
                .set_too_old_log_event_end_index(old)
                .set_too_new_log_event_start_index(new)
                .build();
            let answer = PutLogEventsOutput::builder().rejected_log_events_info(info);
            let refused = rejected(&answer.build(), 10);
            assert_eq!(refused.items, items, "{refused:?}");
            assert!(refused.why.contains(why), "{refused:?}");
        }
    }
}
