//! EventBridge (AGENT-70 to AGENT-73).

use std::time::SystemTime;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use aws_smithy_types::DateTime;

use super::batch::{Item as _, Limits};
use super::changes::{Change, LARGEST_ENTRY, SOURCE};
use super::cloudwatch::told;
use super::route::Route;
use super::ship::{Destination, Refused};

/// What `PutEvents` takes: the size is that of all entries together, and of one alone.
pub const PUT_EVENTS: Limits = Limits {
    items: 10,
    bytes: LARGEST_ENTRY,
    span: i64::MAX,
};

/// What an entry is refused for that is refused each time.
const FINAL: [&str; 5] = [
    "InvalidArgument",
    "MalformedDetail",
    "NotAuthorizedForDetailTypeException",
    "NotAuthorizedForSourceException",
    "RedactionFailure",
];

/// An event bus.
#[derive(Clone, Debug)]
pub struct EventBridge {
    client: Client,
    /// Its name or ARN.
    bus: String,
}

impl EventBridge {
    /// This bus.
    #[must_use]
    pub const fn new(client: Client, bus: String) -> Self {
        Self { client, bus }
    }

    fn entry(&self, change: &Change) -> PutEventsRequestEntry {
        let time = SystemTime::UNIX_EPOCH
            + std::time::Duration::from_millis(u64::try_from(change.time).unwrap_or_default());
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(change.detail_type)
            .detail(&change.detail)
            .resources(&change.resource)
            .time(DateTime::from(time))
            .build()
    }
}

impl Destination for EventBridge {
    type Item = Change;

    fn limits(&self) -> Limits {
        PUT_EVENTS
    }

    fn route(&self) -> Option<Route> {
        Some(Route::Directly)
    }

    async fn put(&mut self, items: &mut Vec<Change>) -> Result<Refused, String> {
        let doing = format!("send to the event bus {}", self.bus);
        let before = items.len();
        items.retain(|change| change.size() <= LARGEST_ENTRY);
        if items.len() < before {
            return Ok(Refused {
                items: (before - items.len()) as u64,
                why: "they are larger than an event bus takes".to_owned(),
            });
        }
        let entries = items.iter().map(|change| self.entry(change)).collect();
        let put = self.client.put_events().set_entries(Some(entries)).send();
        let answer = put.await.map_err(|error| told(&doing, &error))?;
        Ok(keep_failed(items, answer.entries(), &doing))
    }
}

/// Leaves the items that are to be sent again.
fn keep_failed(items: &mut Vec<Change>, answers: &[PutEventsResultEntry], doing: &str) -> Refused {
    let mut refused = Refused::default();
    let mut answers = answers.iter();
    items.retain(|_| {
        let Some(answer) = answers.next() else {
            // Nothing was said of it.
            return true;
        };
        let Some(code) = answer.error_code() else {
            return false;
        };
        if !FINAL.contains(&code) {
            return true;
        }
        refused.items += 1;
        let said = answer.error_message().unwrap_or("no reason was given");
        refused.why = format!("could not {doing}: {code}: {said}");
        false
    });
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_kept_and_what_is_refused_is_counted() {
        let change = |time| Change {
            time,
            detail_type: "CodeBuild Build State Change",
            detail: "{}".to_owned(),
            resource: String::new(),
        };
        let accepted = PutEventsResultEntry::builder().event_id("1").build();
        let failed = |code: &str| PutEventsResultEntry::builder().error_code(code).build();
        let answers = [
            accepted.clone(),
            failed("ThrottlingException"),
            failed("MalformedDetail"),
            failed("InternalFailure"),
            accepted,
        ];
        let mut items: Vec<Change> = (0..6).map(change).collect();
        let refused = keep_failed(&mut items, &answers, "send");
        assert_eq!(refused.items, 1);
        assert_eq!(
            refused.why,
            "could not send: MalformedDetail: no reason was given"
        );
        let kept: Vec<i64> = items.iter().map(|one| one.time).collect();
        assert_eq!(kept, [1, 3, 5]);
    }
}
