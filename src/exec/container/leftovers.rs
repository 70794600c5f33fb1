//! Containers that builds have left in an engine: whose they are, and their removal (CTR-21, CTR-22).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::future::join_all;

use super::{BUILD_LABEL, KEPT_NAME};
use crate::engine::{self, Engine};
use crate::ownership::{Life, Owner};

/// How long an engine may take to list containers, or to remove one.
const ENGINE_LIMIT: Duration = Duration::from_secs(30);

/// A container that does not run and is older than this is nobody's, wherever its owner is: whoever lives clears it away
/// at the end of the build, and one that the system's restart left behind has an owner of another start.
const OLD: Duration = Duration::from_hours(24);

/// A container of a build.
#[derive(Clone, Debug)]
pub struct BuildContainer {
    /// The engine's id of it.
    pub id: String,
    /// The build's id: `project:uuid`.
    pub build: String,
    /// The image, as the engine calls it.
    pub image: String,
    /// When it was made.
    pub created: SystemTime,
    /// Whether it runs.
    pub running: bool,
    /// Whose it is.
    pub standing: Standing,
}

/// Whose a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A build's that goes on.
    InUse,
    /// Nobody's any more.
    Abandoned,
    /// Whoever asked for it to be kept.
    Kept,
    /// Nobody here can say: it was made on another machine, in another PID namespace or by another user.
    Unknown,
}

/// Every container that builds of this program have in the engine, the oldest first. `now` is what their age is told by.
pub async fn list(
    engine: &Engine,
    here: Option<&Owner>,
    now: SystemTime,
) -> Result<Vec<BuildContainer>, engine::Error> {
    let listed = list_labelled(engine, vec![BUILD_LABEL.to_owned()]).await?;
    let mut found: Vec<BuildContainer> = listed
        .into_iter()
        .filter_map(|container| describe(container, here, now))
        .collect();
    found.sort_by_key(|container| container.created);
    Ok(found)
}

/// Every container with all these labels, each a name or `NAME=VALUE`.
async fn list_labelled(
    engine: &Engine,
    labels: Vec<String>,
) -> Result<Vec<ContainerSummary>, engine::Error> {
    let filters = HashMap::from([("label", labels)]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let listed = engine.api().list_containers(Some(options));
    limited("list the containers of builds", listed).await
}

/// Removes every container with all these labels but what is kept: whoever made them is gone for certain (CTR-48). Gives why
/// one could not be removed.
pub(super) async fn remove_all(
    engine: &Engine,
    labels: &BTreeMap<String, String>,
) -> Result<(), engine::Error> {
    let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
    let found = list_labelled(engine, labels.collect()).await?;
    let ids = found
        .into_iter()
        .filter(|container| !is_kept(container))
        .filter_map(|container| container.id);
    let removing = ids.map(|id| async move { remove(engine, &id).await });
    join_all(removing).await.into_iter().collect()
}

/// Whether somebody asked for it to be kept.
fn is_kept(container: &ContainerSummary) -> bool {
    let mut names = container.names.iter().flatten();
    names.any(|name| name.trim_start_matches('/').starts_with(KEPT_NAME))
}

fn describe(
    container: ContainerSummary,
    here: Option<&Owner>,
    now: SystemTime,
) -> Option<BuildContainer> {
    let kept = is_kept(&container);
    let labels = container.labels.unwrap_or_default();
    let created = u64::try_from(container.created.unwrap_or_default()).unwrap_or_default();
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(created);
    let running = matches!(
        container.state,
        Some(State::RUNNING | State::PAUSED | State::RESTARTING)
    );
    let owner = Owner::of(|name| labels.get(name).map(String::as_str));
    let life = match (owner, here) {
        (Some(owner), Some(here)) => owner.life(here),
        _ => Life::Unknown,
    };
    let is_old = now.duration_since(created).is_ok_and(|age| age > OLD);
    let standing = match life {
        _ if kept => Standing::Kept,
        Life::Alive => Standing::InUse,
        Life::Gone => Standing::Abandoned,
        Life::Unknown if is_old && !running => Standing::Abandoned,
        Life::Unknown => Standing::Unknown,
    };
    Some(BuildContainer {
        id: container.id?,
        build: labels.get(BUILD_LABEL)?.clone(),
        image: container.image.unwrap_or_default(),
        created,
        running,
        standing,
    })
}

/// Removes a container with the volumes that are its own. One that is gone already is no error.
pub async fn remove(engine: &Engine, id: &str) -> Result<(), engine::Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true);
    let removed = engine.api().remove_container(id, Some(options.build()));
    match limited("remove a build's container", removed).await {
        // Somebody else was faster.
        Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
        other => other,
    }
}

async fn limited<T>(
    doing: &str,
    work: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, engine::Error> {
    match tokio::time::timeout(ENGINE_LIMIT, work).await {
        Ok(answer) => answer.map_err(|error| engine::Error::api(doing, error)),
        Err(_) => Err(engine::Error::Connection {
            doing: doing.to_owned(),
            reason: "the engine did not answer in time".to_owned(),
        }),
    }
}

/// Removes what is nobody's any more, as far as the engine lets it.
pub async fn sweep(engine: Engine, now: SystemTime) {
    let here = Owner::this();
    let Ok(found) = list(&engine, here.as_ref(), now).await else {
        return;
    };
    let abandoned = found
        .iter()
        .filter(|container| container.standing == Standing::Abandoned);
    join_all(abandoned.map(|container| remove(&engine, &container.id))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The container of an owner, made at this time, in this state, of this name.
    fn standing(owner: &Owner, age: Duration, state: State, name: &str) -> Standing {
        let mut labels: HashMap<String, String> = owner.labels().into_iter().collect();
        labels.insert(BUILD_LABEL.to_owned(), "p:1".to_owned());
        let container = ContainerSummary {
            id: Some("1".to_owned()),
            names: Some(vec![name.to_owned()]),
            created: Some(1_000_000),
            state: Some(state),
            labels: Some(labels),
            ..Default::default()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + age;
        let found = describe(container, Owner::this().as_ref(), now);
        found.expect("it is a build's").standing
    }

    fn changed(from: &str, to: &str) -> Owner {
        let labels: HashMap<String, String> = Owner::this()
            .expect("this process has a number")
            .labels()
            .into_iter()
            .map(|(name, value)| {
                let value = if name.ends_with(from) {
                    to.to_owned()
                } else {
                    value
                };
                (name, value)
            })
            .collect();
        Owner::of(|name| labels.get(name).map(String::as_str)).expect("labels are whole")
    }

    #[test]
    fn what_is_certain_decides() {
        let (hour, days) = (Duration::from_hours(1), Duration::from_hours(48));
        let here = changed("-", "");
        assert_eq!(standing(&here, days, State::RUNNING, "/a"), Standing::InUse);
        assert_eq!(standing(&here, days, State::EXITED, "/a"), Standing::InUse);
        let gone = changed(".start-time", "1");
        assert_eq!(
            standing(&gone, hour, State::RUNNING, "/a"),
            Standing::Abandoned
        );
        assert_eq!(
            standing(&gone, days, State::EXITED, "/runner-kept-1"),
            Standing::Kept
        );
        let elsewhere = changed(".boot", "another");
        assert_eq!(
            standing(&elsewhere, days, State::RUNNING, "/a"),
            Standing::Unknown
        );
        assert_eq!(
            standing(&elsewhere, hour, State::EXITED, "/a"),
            Standing::Unknown
        );
        assert_eq!(
            standing(&elsewhere, days, State::EXITED, "/a"),
            Standing::Abandoned
        );
    }
}
