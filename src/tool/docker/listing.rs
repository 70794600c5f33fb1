//! The back of `docker images`.

use std::collections::HashMap;

use bollard::models::ImageSummary;
use bollard::query_parameters::ListImagesOptionsBuilder;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::template::Template;
use crate::engine::Error;
use crate::event::stamp;
use crate::tool::backend::{Backend, Failure, Out};
use crate::tool::request::Listing;

/// Digits of an id as it is shown.
const SHORT_ID: usize = 12;

/// Lists images.
pub(super) async fn images(backend: &Backend, request: Listing, out: &Out) -> Result<u8, Failure> {
    let mut filters: HashMap<String, Vec<String>> = HashMap::new();
    for filter in &request.filters {
        let (name, value) = filter.split_once('=').ok_or_else(|| {
            Failure::new(format!("`--filter {filter}` is not of the form NAME=VALUE"))
        })?;
        filters
            .entry(name.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    if let Some(reference) = &request.reference {
        filters
            .entry("reference".to_owned())
            .or_default()
            .push(reference.clone());
    }
    let options = ListImagesOptionsBuilder::new()
        .all(request.all)
        .filters(&filters)
        .build();
    let engine = backend.engine().await?;
    let listed = engine.api().list_images(Some(options)).await;
    let mut listed = listed.map_err(|error| Error::api("list images", error))?;
    if let Some(own) = backend.own() {
        own.keep_own(&mut listed);
    }
    let now = Timestamp::try_from(stamp()).unwrap_or_default();
    let rows: Vec<Row> = listed
        .iter()
        .flat_map(|image| Row::of(image, now, request.whole_ids))
        .collect();
    out.stdout(text(&request, &rows)?).await?;
    Ok(0)
}

/// One name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    age: String,
    created: String,
    size: String,
}

impl Row {
    fn of(image: &ImageSummary, now: Timestamp, whole_ids: bool) -> Vec<Self> {
        let id = match image.id.split_once(':') {
            Some((_, digits)) if !whole_ids => digits.get(..SHORT_ID).unwrap_or(digits).to_owned(),
            _ => image.id.clone(),
        };
        let created = Timestamp::from_second(image.created).unwrap_or_default();
        let row = |repository: &str, tag: &str| {
            let start = format!("{repository}@");
            let digest = image
                .repo_digests
                .iter()
                .find_map(|digest| digest.strip_prefix(&start));
            Self {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                digest: digest.unwrap_or("<none>").to_owned(),
                id: id.clone(),
                age: format!("{} ago", age(now.as_second() - image.created)),
                created: created.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
                size: size(image.size),
            }
        };
        let tags = image.repo_tags.iter().filter(|tag| *tag != "<none>:<none>");
        let rows: Vec<Self> = tags
            .filter_map(|name| name.rsplit_once(':'))
            .map(|(name, tag)| row(name, tag))
            .collect();
        if !rows.is_empty() {
            return rows;
        }
        let named = image
            .repo_digests
            .iter()
            .filter_map(|digest| digest.split_once('@'));
        let name = named.map(|(name, _)| name).next().unwrap_or("<none>");
        vec![row(name, "<none>")]
    }

    fn json(&self) -> Value {
        json!({
            "Repository": self.repository, "Tag": self.tag, "Digest": self.digest, "ID": self.id,
            "CreatedSince": self.age, "CreatedAt": self.created, "Size": self.size,
        })
    }
}

fn text(request: &Listing, rows: &[Row]) -> Result<String, Failure> {
    if let Some(format) = &request.format {
        let template = Template::parse(format).map_err(Failure::new)?;
        let lines = rows
            .iter()
            .map(|row| template.fill(&row.json()).map(|line| line + "\n"));
        return lines
            .collect::<Result<String, String>>()
            .map_err(Failure::new);
    }
    if request.quiet {
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let end = if ids.is_empty() { "" } else { "\n" };
        return Ok(ids.join("\n") + end);
    }
    let mut table = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned)];
    table
        .extend(rows.iter().map(|row| {
            [&row.repository, &row.tag, &row.id, &row.age, &row.size].map(Clone::clone)
        }));
    Ok(columns(&table))
}

/// Columns as Docker sets them: at least ten wide, three apart.
fn columns(table: &[[String; 5]]) -> String {
    let width = |column: usize| {
        let longest = table.iter().map(|row| row[column].chars().count()).max();
        (longest.unwrap_or(0) + 3).max(10)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for row in table {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[4]);
        text.push('\n');
    }
    text
}

/// A time in the words that Docker has for it.
fn age(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / (7 * DAY)),
        5_184_000..63_072_000 => format!("{} months", seconds / (30 * DAY)),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

/// Bytes in thousands, with three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: i64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    let mut number = format!("{value:.digits$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_in_dockers_words() {
        let sizes = [
            (0, "0B"),
            (999, "999B"),
            (2048, "2.05kB"),
            (1_000_000, "1MB"),
            (45_600_000, "45.6MB"),
            (1_234_567_890, "1.23GB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        let ages = [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (180_000, "2 days"),
            (2_000_000, "3 weeks"),
            (6_000_000, "2 months"),
            (70_000_000, "2 years"),
        ];
        for (seconds, text) in ages {
            assert_eq!(age(seconds), text);
        }
    }

    // TOOL-11
    #[test]
    fn images_are_listed_by_their_names() {
        let image = |tags: &[&str], digests: &[&str]| ImageSummary {
            id: format!("sha256:{}", "ab".repeat(32)),
            created: 1000,
            size: 5_000_000,
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            repo_digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
            ..ImageSummary::default()
        };
        let now = Timestamp::from_second(1100).expect("a time");
        let rows = |image: &ImageSummary| Row::of(image, now, false);
        let rows = [
            rows(&image(&["h:5000/a:1", "b:latest"], &["b@sha256:1"])),
            rows(&image(&[], &["c@sha256:2"])),
            rows(&image(&[], &[])),
        ]
        .concat();
        let table = text(&Listing::default(), &rows).expect("it can be listed");
        assert_eq!(
            table,
            "\
REPOSITORY   TAG       IMAGE ID       CREATED              SIZE
h:5000/a     1         abababababab   About a minute ago   5MB
b            latest    abababababab   About a minute ago   5MB
c            <none>    abababababab   About a minute ago   5MB
<none>       <none>    abababababab   About a minute ago   5MB
"
        );
        let format = Listing {
            format: Some("{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}".to_owned()),
            ..Listing::default()
        };
        let lines = text(&format, &rows[1..2]).expect("it can be listed");
        assert_eq!(lines, "b:latest abababababab sha256:1\n");
        let quiet = Listing {
            quiet: true,
            ..Listing::default()
        };
        assert_eq!(
            text(&quiet, &rows[..1]).expect("it can be listed"),
            "abababababab\n"
        );
    }
}
