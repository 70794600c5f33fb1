//! What is in the archives that a build has stored.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

/// A line for each stored archive of a directory, and one below it for each of its entries: the name, and where a link leads
/// or how many bytes a file has.
pub(crate) fn listed(events: &str) -> Result<String, String> {
    let mut text = String::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let location = event["location"].as_str().unwrap_or_default();
        if event["event"] != "artifact-stored" || event["packaging"] != "ZIP" {
            continue;
        }
        text.push_str(&format!("{location}\n"));
        let entries = entries(Path::new(location)).map_err(|why| format!("{location}: {why}"))?;
        for entry in entries {
            text.push_str(&format!("  {entry}\n"));
        }
    }
    Ok(text)
}

fn entries(path: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if entry.is_symlink() {
            let mut target = String::new();
            entry.read_to_string(&mut target)?;
            found.push(format!("{name} -> {target}"));
        } else {
            found.push(format!("{name} ({} B)", entry.size()));
        }
    }
    Ok(found)
}
