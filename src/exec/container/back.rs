//! What commands left in a container comes back: a source that was copied, and what artifacts are looked for in elsewhere.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::facts::{Facts, Listing};
use super::put_back::Known;
use super::session::{ContainerSession, mount};
use super::staging::{Staging, changes};
use super::transfer;
use super::wire::{self, Answer, Request};
use crate::exec::{Error, Mount};
use crate::ownership::{OwnedDirectory, remove_tree};

/// How often something is asked for that was there and did not come, because somebody changed it meanwhile (CTR-62).
const ATTEMPTS: usize = 5;

/// Most of the things of one kind that are named.
const NAMED: usize = 20;

impl ContainerSession {
    /// Gives files back to their owner, and brings them back if they are a copy.
    pub(super) async fn bring_source_back(&mut self) -> Result<(), Error> {
        if self.is_back {
            return Ok(());
        }
        if self.source.bound {
            match self.ask(&Request::HandOver, &[]).await? {
                (Answer::Done, _) => {}
                (other, _) => return Err(self.unexpected(other)),
            }
        } else {
            for place in 0..self.source.places.len() {
                self.copy_source_back(place).await?;
            }
        }
        self.is_back = true;
        Ok(())
    }

    /// Sees what the copies of sources are before the first command.
    pub(super) async fn look_at_copies(&mut self) -> Result<(), Error> {
        for (place, known) in self.copies() {
            let listed = self.list(&place.inside).await?;
            with(&known, |known| known.inside = listed);
        }
        Ok(())
    }

    fn copies(&self) -> Vec<(Mount, Arc<Mutex<Known>>)> {
        let places = self.source.places.iter().cloned();
        places.zip(self.source.known.iter().cloned()).collect()
    }

    /// Brings back what is new or changed in the copy, and removes what is gone in there. Nothing is removed unless the
    /// session inside says what is there: what an engine sends can be less.
    async fn copy_source_back(&mut self, place: usize) -> Result<(), Error> {
        let (place, known) = self.copies().swap_remove(place);
        let mut staging = Staging::new(
            place.outside.clone(),
            self.source.temporary_directory.clone(),
        );
        let listed = self.list(&place.inside).await;
        let mut gone = Vec::new();
        if let Ok(now) = &listed
            && now.contains_key(Path::new(""))
        {
            let (wanted, missing) = with(&known, |known| changes(&known.inside, now));
            if wanted.is_empty() && missing.is_empty() {
                return Ok(());
            }
            gone = missing;
            staging.wanted = wanted;
            staging.listed = Some(now.clone());
        }
        let Some(staged) = self.stage(staging, &place.inside, &mut gone).await? else {
            return Ok(());
        };
        let Staged { staging, seen, end } = staged;
        let is_whole = end.is_ok() && seen.is_some();
        if !is_whole {
            gone.clear();
        }
        let puts = Arc::clone(&known);
        let put = tokio::task::spawn_blocking(move || {
            let mut staging = staging;
            with(&puts, |known| known.put_back(&mut staging, &gone))
        });
        let put = put.await.map_err(std::io::Error::other).and_then(|put| put);
        let notes = with(&known, Known::take_notes);
        self.say_some(notes);
        end?;
        put.map_err(|source| Error::System {
            doing: "bring the source back from the container",
            source,
        })?;
        if let Some(seen) = seen {
            with(&known, |known| known.inside = seen);
        }
        // Where the session is gone: what the build made is worth having all the same.
        listed.map(|_| ())
    }

    /// Fetches what is wanted into a directory of its own. Of what is `gone` it leaves what did not come again meanwhile. `None`
    /// if there is no such directory inside.
    async fn stage(
        &mut self,
        mut staging: Staging,
        inside: &Path,
        gone: &mut Vec<PathBuf>,
    ) -> Result<Option<Staged>, Error> {
        let mut seen = staging.listed.clone();
        let mut end = Ok(());
        for attempt in 1..=ATTEMPTS {
            if staging.listed.is_some() && staging.wanted.is_empty() {
                break;
            }
            let (back, round) = self.fetch_wanted(staging, inside, attempt).await?;
            staging = back;
            let again = match round {
                Round::NothingThere => return Ok(None),
                Round::Broken(error) => Err(error),
                Round::Took { is_cut } => self.look_again(&mut staging, inside, is_cut).await,
            };
            match again {
                Ok(Some(after)) => {
                    gone.retain(|path| !after.contains_key(path));
                    let facts = |path: &PathBuf| Some((path.clone(), *after.get(path)?));
                    if let Some(seen) = &mut seen {
                        seen.extend(staging.wanted.iter().filter_map(facts));
                    }
                    staging.listed = Some(after);
                }
                Ok(None) => break,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        // What did not come is new to the next copy.
        if let Some(seen) = &mut seen {
            seen.retain(|path, _| !staging.wanted.contains(path));
        }
        if end.is_ok() {
            let restless = staging.wanted.iter().map(|path| restless(path)).collect();
            self.say_some(restless);
        }
        Ok(Some(Staged { staging, seen, end }))
    }

    /// Asks the engine once.
    async fn fetch_wanted(
        &mut self,
        mut staging: Staging,
        inside: &Path,
        attempt: usize,
    ) -> Result<(Staging, Round), Error> {
        let mut cancel = self.cancel.clone();
        let taking = move |chunks| {
            let taken = staging.take(chunks);
            (staging, taken)
        };
        let (read, fetched) = transfer::read(&self.container, inside, &mut cancel, taking).await;
        self.heed(&fetched);
        let (staging, taken) = read?;
        let may_try_again = attempt < ATTEMPTS && staging.listed.is_some();
        let round = match (fetched, taken) {
            (Ok(false), _) => Round::NothingThere,
            (Err(error), _) => Round::Broken(error),
            (Ok(true), Ok(())) => Round::Took { is_cut: false },
            // Of a file that became shorter while the engine read it, say.
            (Ok(true), Err(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof && may_try_again =>
            {
                Round::Took { is_cut: true }
            }
            (Ok(true), Err(error)) => Round::Broken(transfer::not_copied(error)),
        };
        Ok((staging, round))
    }

    /// Sees what did not come, and leaves in `wanted` what is to be asked for again. Gives what there is then; `None` if all
    /// came, or nobody can say.
    async fn look_again(
        &mut self,
        staging: &mut Staging,
        inside: &Path,
        is_cut: bool,
    ) -> Result<Option<Listing>, Error> {
        staging.first = false;
        let Some(before) = staging.listed.take() else {
            return Ok(None);
        };
        let mut missing = std::mem::take(&mut staging.wanted);
        missing.retain(|path| !staging.arrived.contains_key(path));
        if missing.is_empty() {
            return Ok(None);
        }
        let after = self.list(inside).await?;
        staging.wanted = if is_cut {
            missing.retain(|path| after.contains_key(path));
            missing
        } else {
            transfer::left_out(missing.iter(), &before, &after).map_err(left_out)?
        };
        Ok(Some(after))
    }

    /// It is not tried again while the build is closed.
    fn heed<T>(&self, fetched: &Result<T, Error>) {
        if let Err(Error::Engine(crate::engine::Error::Connection { .. })) = fetched {
            self.container.fall_silent();
        }
    }

    /// Copies all there is at a place in the container, as the session inside sees it, to where nobody else has anything.
    async fn fetch_whole(&mut self, inside: &Path, outside: &Path) -> Result<(), Error> {
        let mut before = self.list(inside).await?;
        let mut again = HashSet::new();
        for _ in 0..ATTEMPTS {
            let mut cancel = self.cancel.clone();
            let fetched = transfer::fetch(&self.container, inside, outside, &mut cancel).await;
            self.heed(&fetched);
            let Some(arrived) = fetched? else {
                return Ok(());
            };
            let missing: Vec<&PathBuf> = before
                .keys()
                .filter(|path| !arrived.contains(*path))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let after = self.list(inside).await?;
            again = transfer::left_out(missing.into_iter(), &before, &after).map_err(left_out)?;
            if again.is_empty() {
                return Ok(());
            }
            before = after;
            remove_tree(outside).map_err(transfer::not_copied)?;
        }
        let restless = again.iter().map(|path| restless(path)).collect();
        self.say_some(restless);
        Ok(())
    }

    /// What there is in a directory, and the directory, as the session inside sees it.
    async fn list(&mut self, directory: &Path) -> Result<Listing, Error> {
        let (output, mut parts) = mpsc::channel::<Vec<u8>>(1);
        let collecting = tokio::spawn(async move {
            let mut listing = Listing::new();
            while let Some(part) = parts.recv().await {
                let texts = wire::split(&part);
                let pairs = texts.chunks_exact(2).map(entry);
                listing.extend(pairs.flatten());
            }
            listing
        });
        let request = Request::List {
            directory: directory.to_owned(),
        };
        let answer = self.ask_aloud(&request, &[], &output).await;
        drop(output);
        match answer? {
            (Answer::Done, _) => collecting.await.map_err(|error| Error::System {
                doing: "read what there is in the container",
                source: std::io::Error::other(error),
            }),
            (other, _) => Err(self.unexpected(other)),
        }
    }

    /// Where this program finds the sources as commands left them.
    pub(super) async fn source_mounts(&mut self) -> Result<Vec<Mount>, Error> {
        let mut mounts = Vec::new();
        for (number, place) in self.source.places.clone().into_iter().enumerate() {
            let known = self.source.known.get(number);
            // What the caller changed meanwhile is not the build's (CTR-57).
            if known.is_some_and(|known| with(known, |known| known.has_beside())) {
                self.bring_elsewhere(&place.inside).await?;
            } else {
                mounts.push(mount(&place.inside, &place.outside)?);
            }
        }
        Ok(mounts)
    }

    /// Copies what a build left outside of its source. What is not there will not be found there either.
    pub(super) async fn bring_elsewhere(&mut self, inside: &Path) -> Result<(), Error> {
        if inside == Path::new("/") {
            return Err(Error::InContainer {
                message: "artifacts are looked for in all of the container, from `/` on: name a directory".to_owned(),
            });
        }
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        let elsewhere = match self.source.elsewhere.take() {
            Some(made) => made,
            None => {
                OwnedDirectory::make_in(&self.source.temporary_directory).map_err(|source| {
                    Error::System {
                        doing: "make a directory for files of the container",
                        source,
                    }
                })?
            }
        };
        let outside = self
            .source
            .elsewhere
            .insert(elsewhere)
            .path()
            .join(relative);
        self.fetch_whole(inside, &outside).await
    }

    /// Remembers what a person should know, as far as that can be read.
    fn say_some(&mut self, mut notes: Vec<String>) {
        notes.sort();
        let more = notes.len().saturating_sub(NAMED);
        notes.truncate(NAMED);
        self.notes.append(&mut notes);
        if more > 0 {
            self.notes
                .push(format!("and so it is with {more} more files"));
        }
    }
}

/// What came of asking the engine once.
enum Round {
    /// There is no such directory.
    NothingThere,
    /// Not all came, and will not.
    Broken(Error),
    /// What there was came, or `is_cut` at a place where something changed meanwhile.
    Took { is_cut: bool },
}

/// What came of fetching.
struct Staged {
    staging: Staging,
    /// What was there inside, of which all came; `None` where nobody could say.
    seen: Option<Listing>,
    /// Whether all came.
    end: Result<(), Error>,
}

fn with<T>(known: &Mutex<Known>, work: impl FnOnce(&mut Known) -> T) -> T {
    work(&mut known.lock().unwrap_or_else(PoisonError::into_inner))
}

fn entry(pair: &[OsString]) -> Option<(PathBuf, Facts)> {
    let [facts, path] = pair else { return None };
    Some((PathBuf::from(path), Facts::read(facts.to_str()?)?))
}

fn left_out(source: std::io::Error) -> Error {
    Error::System {
        doing: "bring all files back from the container",
        source,
    }
}

fn restless(path: &Path) -> String {
    format!(
        "{} was changed in the build again and again while it was copied out of the container, and did not come: end what changes it before the build ends",
        path.display()
    )
}
