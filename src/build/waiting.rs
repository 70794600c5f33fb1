//! What is waited for is said: a service that does not answer looks like a build that hangs.

use std::time::Duration;

use super::drive::{Driver, Left};
use crate::aws::QUIET;
use crate::event::{EventKind, Warning};

impl Driver {
    /// [`attend`](Self::attend), and says what is waited for when nothing came of it for a while (ENV-55).
    pub(super) async fn attend_telling<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = T>,
    ) -> Left<T> {
        tokio::pin!(work);
        let (mut pause, mut waited) = (QUIET, Duration::ZERO);
        loop {
            let ended = tokio::time::timeout(pause, &mut work);
            if let Ok(done) = self.attend(ended).await? {
                return Some(done);
            }
            waited += pause;
            pause *= 2;
            // Whoever asked for the end knows what is waited for.
            if !self.stop.is_requested() {
                let message = format!(
                    "no answer after {} s: still waiting for {what}",
                    waited.as_secs()
                );
                self.record(EventKind::Warning(Warning::new(message)));
            }
        }
    }
}
