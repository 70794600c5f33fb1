//! `aws` and `docker` for places that have none: a bare image, a host with an engine and no command line for it. And the
//! commands about files that CodeBuild's build images have ([`FileCommand`]), which need nothing but the files; and those of debug
//! sessions ([`SessionCommand`]), which do nothing without one.
//!
//! They do what builds of images need and nothing else (`SUPPORTED` of [`mod@aws`] and [`mod@docker`]); where the real
//! ones are on PATH, those are used, since ours are at its end ([`link_into`]).
//!
//! # Two ends
//!
//! A command runs where its files are, which may be a container; the engine and the user's credentials are where runner
//! is, and stay there; keys in the command's own environment go with its question. So each command has two ends with a stream between them:
//!
//! - the **front** ([`run`]) reads arguments, variables, files and standard input, and writes what comes back;
//! - the **back** ([`serve`] with a [`Backend`]) asks the engine and AWS.
//!
//! On a host both are in one process ([`run_here`]); in a container the stream is a connection to a socket there, one
//! for each command.
//!
//! # What travels
//!
//! Frames: one byte for the kind, four for the length of the payload (big-endian, at most 1 MiB), the payload.
//!
//! | kind | from | payload |
//! | --- | --- | --- |
//! | `q` request | front, first and once | JSON of a request |
//! | `b` body | front | bytes: a context, an image to load |
//! | `e` end of body | front | nothing; without it the body is not whole |
//! | `o` output | back | bytes for standard output, or for the file that takes its place |
//! | `r` error output | back | bytes for standard error |
//! | `x` exit | back, last | one byte: the exit code |
//!
//! Both ends are of one version of this program, so the form of a request may change with it. A front that closes the
//! stream before `x` came is gone: the back drops what it was at, and with that the engine's work for it. A back that
//! closes before `x` is a failure of the command. Neither end holds more than a few frames.

mod aws;
mod backend;
mod credential;
mod docker;
mod files;
mod front;
mod git;
mod link;
mod mask;
mod options;
mod request;
mod session;
mod wire;

use std::ffi::{OsStr, OsString};

use tokio::io::{AsyncRead, AsyncWrite};

pub use backend::{Backend, Logins, serve};
pub use credential::credential;
pub use files::{FileCommand, Here};
pub use front::{Environment, Surroundings, run};
pub use git::{ask_git, serve_git};
pub use link::link_into;
pub use mask::{LONGEST as LONGEST_MASKED, Masks, mask, serve_mask};
pub use session::{
    CommandPlace, DebugSession, News, SessionCommand, Visited, Waiting, look, pause, resume, visit,
};

/// Bytes that wait between two ends in one process.
const BETWEEN: usize = 256 * 1024;

/// A command that this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `aws`
    Aws,
    /// `docker`
    Docker,
}

impl Tool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Aws, Self::Docker];

    /// The tool of a name that this program was called by.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| name == tool.name())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Docker => "docker",
        }
    }

    const fn supported(self) -> &'static [&'static str] {
        match self {
            Self::Aws => aws::SUPPORTED,
            Self::Docker => docker::SUPPORTED,
        }
    }

    /// Where the real one is.
    const fn real(self) -> &'static str {
        match self {
            Self::Aws => {
                "the AWS CLI in the build's image or on this machine (https://docs.aws.amazon.com/cli/)"
            }
            Self::Docker => {
                "Docker's CLI in the build's image or on this machine (https://docs.docker.com/engine/install/)"
            }
        }
    }

    /// Exit code for what is not supported. AWS's own tool has 252 for a command line that it cannot use; Docker's has
    /// several, so ours has the one that shells have.
    const fn unsupported(self) -> u8 {
        match self {
            Self::Aws => 252,
            Self::Docker => 2,
        }
    }

    /// Exit code for a command that failed in no way that has a code of its own.
    const fn failed(self) -> u8 {
        match self {
            Self::Aws => 255,
            Self::Docker => 1,
        }
    }
}

/// Runs a command with both its ends in this process. Gives the exit code.
pub async fn run_here<I, O, E>(
    tool: Tool,
    arguments: &[OsString],
    backend: &Backend,
    around: Surroundings<I, O, E>,
) -> u8
where
    I: AsyncRead + Unpin + Send,
    O: AsyncWrite + Unpin + Send,
    E: AsyncWrite + Unpin + Send,
{
    let (front, back) = tokio::io::duplex(BETWEEN);
    // What is wrong with the stream is wrong at the front too, which says so.
    let (code, _) = tokio::join!(run(tool, arguments, front, around), serve(back, backend));
    code
}
