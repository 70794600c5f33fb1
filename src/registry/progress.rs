//! What an engine says while an image moves, as facts about layers.

use std::time::Duration;

use serde_json::Value;

/// What is heard while an image moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A layer is at something else, or further on.
    Layer(Layer),
    /// It did not work, and will be tried again.
    Retry {
        /// Which try comes next; the first was 1.
        next: u32,
        /// Tries there are in all.
        of: u32,
        /// How long is waited until then.
        wait: Duration,
        /// Why it did not work.
        reason: String,
    },
    /// Something that a person should know.
    Note(String),
    /// What the engine said, as Docker's command line writes it, with the end of its line; for a layer it comes beside
    /// [`Progress::Layer`].
    Said(String),
}

/// Where a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The engine's short name of it.
    pub id: String,
    /// What is done with it.
    pub state: LayerState,
    /// Bytes that are done of it, never more than `total` where that is known.
    pub current: u64,
    /// Bytes there are in this state; 0 where that is not known.
    pub total: u64,
}

/// What is done with a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It waits for its turn, or is being looked at.
    Waiting,
    /// It goes to the registry.
    Pushing,
    /// It is in the registry now.
    Pushed,
    /// It was there already.
    Exists,
    /// The registry takes it from another repository of its own.
    Mounted(String),
    /// The engine tries again in so many seconds.
    Retrying(String),
    /// It comes from the registry.
    Downloading,
    /// What came is compared with its digest.
    Verifying,
    /// It is here, not yet unpacked.
    Downloaded,
    /// It is being unpacked.
    Extracting,
    /// It is here.
    Pulled,
}

impl LayerState {
    /// Whether nothing more happens to the layer.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Pushed | Self::Exists | Self::Mounted(_) | Self::Pulled
        )
    }

    fn read(status: &str) -> Option<Self> {
        Some(match status {
            "Preparing" | "Waiting" | "Pulling fs layer" => Self::Waiting,
            "Pushing" => Self::Pushing,
            "Pushed" => Self::Pushed,
            "Layer already exists" | "Already exists" => Self::Exists,
            "Downloading" => Self::Downloading,
            "Verifying Checksum" => Self::Verifying,
            "Download complete" => Self::Downloaded,
            "Extracting" => Self::Extracting,
            "Pull complete" => Self::Pulled,
            other => {
                if let Some(from) = other.strip_prefix("Mounted from ") {
                    Self::Mounted(from.to_owned())
                } else {
                    let wait = other.strip_prefix("Retrying in ")?;
                    Self::Retrying(wait.to_owned())
                }
            }
        })
    }
}

impl Layer {
    /// The layer that a record is about, if it is about one.
    pub(super) fn read(record: &Value) -> Option<Self> {
        let id = record["id"].as_str().filter(|id| !id.is_empty())?;
        let state = LayerState::read(record["status"].as_str()?)?;
        let number = |name: &str| record["progressDetail"][name].as_u64().unwrap_or(0);
        let (current, total) = (number("current"), number("total"));
        Some(Self {
            id: id.to_owned(),
            state,
            // The TAR around a layer makes it longer than the engine thinks.
            current: if total == 0 {
                current
            } else {
                current.min(total)
            },
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record: &str) -> Option<String> {
        let layer = Layer::read(&serde_json::from_str(record).unwrap())?;
        Some(format!(
            "{} {:?} {}/{}",
            layer.id, layer.state, layer.current, layer.total
        ))
    }

    // IMG-21
    #[test]
    fn records_of_an_engine_are_facts_about_layers() {
        let table = [
            (
                r#"{"status":"Pushing","progressDetail":{"current":512,"total":1024},"progress":"[=> ]","id":"a1"}"#,
                Some("a1 Pushing 512/1024"),
            ),
            (
                r#"{"status":"Pushing","progressDetail":{"current":2048,"total":1024},"id":"a1"}"#,
                Some("a1 Pushing 1024/1024"),
            ),
            (
                r#"{"status":"Pushing","progressDetail":{"current":2048},"id":"a1"}"#,
                Some("a1 Pushing 2048/0"),
            ),
            (
                r#"{"status":"Pushed","progressDetail":{},"id":"a1"}"#,
                Some("a1 Pushed 0/0"),
            ),
            (
                r#"{"status":"Layer already exists","id":"a1"}"#,
                Some("a1 Exists 0/0"),
            ),
            (
                r#"{"status":"Mounted from team/base","id":"a1"}"#,
                Some("a1 Mounted(\"team/base\") 0/0"),
            ),
            (
                r#"{"status":"Retrying in 5 seconds","id":"a1"}"#,
                Some("a1 Retrying(\"5 seconds\") 0/0"),
            ),
            (
                r#"{"status":"Pull complete","id":"a1"}"#,
                Some("a1 Pulled 0/0"),
            ),
            (
                r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
                None,
            ),
            (r#"{"status":"The push refers to repository [x]"}"#, None),
            (
                r#"{"progressDetail":{},"aux":{"Tag":"1","Digest":"sha256:0","Size":1}}"#,
                None,
            ),
            (
                r#"{"status":"Pushing","progressDetail":{"current":-1,"total":-1},"id":"a"}"#,
                Some("a Pushing 0/0"),
            ),
        ];
        for (record, expected) in table {
            assert_eq!(read(record).as_deref(), expected, "{record}");
        }
    }
}
