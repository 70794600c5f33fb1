//! Runs AWS CodeBuild's `buildspec.yml` on machines you own, with what CodeBuild would have given: the same commands in
//! the same shell state, the same phases after the same failures, the same log, the same artifacts, and an exit code
//! that tells the truth.
//!
//! What it does is stated in `spec/`, in numbered statements with their sources. How it is built is here.
//!
//! # The line
//!
//! ```text
//! text ──▶ Buildspec ──▶ Plan ──▶ events ──▶ Outcome ──▶ artifacts
//! ```
//!
//! | arrow | function | notes |
//! | --- | --- | --- |
//! | text → buildspec | [`buildspec::read`] | never stops at the first problem; what it cannot use it says with a place |
//! | buildspec → plan | [`plan::plan`] | with a [`plan::BuildRequest`]; a [`plan::Plan`] leaves no decision for later |
//! | plan → events | [`build::drive`] | the one loop; its policy is [`build::Machine`] |
//! | events → outcome | [`build::Outcome`] | a fold, as is everything that is shown ([`sink`]) |
//! | outcome → artifacts | [`artifact::upload`] | select, pack, place, store ([`store`]) |
//!
//! # The map
//!
//! A module uses its own layer and those below it; `tests/house.rs` reads the `use` lines.
//!
//! | layer | modules | what is there |
//! | --- | --- | --- |
//! | 0 text | [`source`], [`diagnostic`], [`units`] | a file's text and places in it; findings and how they are shown; durations and sizes |
//! | 1 meaning | [`phase`], [`mod@env`], [`runtime`], [`buildspec`], [`plan`], [`user`] | pure: phases and what follows what, variables, runtimes and their versions, the file, the plan, users |
//! | 2 world | [`event`], [`redact`], [`aws`], [`credentials`], [`directory`], [`engine`], [`process`], [`proxy`], [`exec`], [`fetch`], [`git_credential`], [`ownership`], [`private`], [`registry`], [`secret`], [`sink`], [`store`], [`view`] | the stream and its ways out: AWS, credentials for commands, directories that are written to through no link, the container engine, processes, a proxy on the way to AWS, places where commands run, sources from elsewhere, credentials for git, whose things are, files that only their owner reads, image registries, values that lie with AWS, console and files, places for artifacts, a container's files as they are here. `exec`, `fetch`, `registry`, `secret`, `sink` and `store` do not know one another |
//! | 3 building | [`artifact`], [`cache`], [`report`], [`build`], [`tool`] | selecting and storing; what builds restore and save; the machine, the loop, the outcome; our own `aws`, `docker` and `codebuild-…` commands |
//! | 4 doors | [`agent`], [`cli`] | jobs of CodePipeline become builds; arguments become requests, results become text and exit codes. `agent` does not know `cli` |
//!
//! # Where to look
//!
//! - a key of the buildspec: `buildspec/ast.rs` (as written), `parse.rs` (reading), `model.rs` (as meant), `rules/`
//!   (what is wrong with it), then `plan/` if it changes a build;
//! - what happens after a failure, a signal or the time limit: [`phase`] for the table, [`build::Machine`] for the policy;
//! - how a command runs: [`exec::shell`] has the wrapper, `process` the processes;
//! - a line of the log: `sink/codebuild.rs`; what people see at a terminal: `sink/pretty.rs`; for programs: `sink/json.rs`.
//!
//! # Invariants
//!
//! - **A span slices.** Every [`source::Span`] is within its text and on character boundaries.
//! - **A [`buildspec::Buildspec`] is sound.** It exists only if nothing in its file was an error.
//! - **One stream.** Whatever is seen of a build is an [`event::Event`]; nobody prints beside it. Numbers have no gaps,
//!   and every stream obeys the grammar in [`event`].
//! - **Redacted at the source of events.** A sink never sees a secret: output, command lines and messages pass through
//!   [`redact`] before they become events.
//! - **No fake green.** What cannot be done as CodeBuild would do it is refused or said ([`plan`]), never skipped in
//!   silence. A build is a success only if every command was, and its artifacts are stored.
//! - **Every process is in a group, every wait ends.** Only [`process`] starts processes. A command's end is awaited
//!   with a grace period, then forced; nothing that a build started outlives it.
//! - **A failing build is data.** Findings about the file are [`diagnostic::Diagnostic`]s, a failed build is an
//!   [`build::Outcome`], a failing machine or AWS is an error, a bug is a panic. Each has exit codes of its own
//!   ([`build::ExitCode`]).
//! - **What is reported as stored was asked for after it was stored**, and what failed leaves nothing behind ([`store`]).
//! - **Memory is bounded**: output and files are streamed, queues have a length, and what a file can make us hold has a
//!   limit ([`buildspec::yaml`]).

// ── text
pub mod diagnostic;
pub mod source;
pub mod units;
// ── meaning
pub mod buildspec;
pub mod env;
pub mod phase;
pub mod plan;
pub mod runtime;
pub mod user;
// ── world
pub mod aws;
pub mod credentials;
pub mod directory;
pub mod engine;
pub mod event;
pub mod exec;
pub mod fetch;
pub mod git_credential;
pub mod ownership;
pub mod private;
pub mod process;
pub mod proxy;
pub mod redact;
pub mod registry;
pub mod secret;
pub mod sink;
pub mod store;
pub mod view;
// ── building
pub mod artifact;
pub mod build;
pub mod cache;
pub mod lint;
pub mod report;
pub mod tool;
// ── doors
pub mod agent;
pub mod cli;
