//! Containers between the request that makes them and the session that answers for them (CTR-68).

use std::sync::{Arc, Mutex};

use bollard::errors::Error as ApiError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::session::{Container, LAST_RESORT};

/// A container that has no session yet. It goes where nobody waits for one any more.
#[derive(Debug)]
pub(super) struct Unopened {
    pub(super) container: Container,
    /// Whether somebody else answers for it now.
    pub(super) is_answered_for: bool,
}

impl Drop for Unopened {
    fn drop(&mut self) {
        if !self.is_answered_for {
            self.container.remove_at_once();
        }
    }
}

/// What the engine is asked to make. It makes it whether or not somebody waits for its answer, so the answer is always
/// waited for: what it brings goes where nobody wants it any more.
#[derive(Clone, Debug, Default)]
pub struct Making(Arc<Mutex<Option<JoinHandle<()>>>>);

impl Making {
    /// Asks for a container. `as_asked` is that container without its id.
    pub(super) async fn container(
        &self,
        options: CreateContainerOptions,
        body: ContainerCreateBody,
        as_asked: Container,
    ) -> Result<Unopened, ApiError> {
        let (answer, made) = oneshot::channel();
        let asking = tokio::spawn(async move {
            let engine = as_asked.engine.clone();
            let made = engine.api().create_container(Some(options), body).await;
            let made = match made {
                Ok(made) => Ok(Unopened {
                    container: Container {
                        id: made.id,
                        ..as_asked
                    },
                    is_answered_for: false,
                }),
                Err(error) => {
                    // What the engine refuses is not there; of what it did not answer nobody knows.
                    if matches!(error, ApiError::DockerResponseServerError { .. }) {
                        as_asked.settle();
                    }
                    Err(error)
                }
            };
            // Where nobody takes it, it is dropped here.
            let _ = answer.send(made);
        });
        if let Ok(mut held) = self.0.lock() {
            *held = Some(asking);
        }
        // Only a panic answers nothing.
        made.await.unwrap_or(Err(ApiError::RequestTimeoutError))
    }

    /// Waits for the engine's answer, and until what it brought is gone; not for long.
    pub(super) async fn abandon(&self) {
        let asking = self.0.lock().ok().and_then(|mut held| held.take());
        if let Some(asking) = asking {
            let _ = timeout(LAST_RESORT, asking).await;
        }
    }
}
