//! Short-lived programs that are asked something. Each has a limit in time and in what it writes, and nothing of its group is
//! left behind.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::Command;

use super::{Group, Start, exit};
use crate::event::Exit;

/// The output of a short-lived helper program, such as `git`, or `None` if it is not there, fails or takes too long.
pub async fn capture(
    program: &str,
    arguments: &[&OsStr],
    directory: &Path,
    limit: Duration,
) -> Option<Vec<u8>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .process_group(0)
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = tokio::time::timeout(limit, command.output())
        .await
        .ok()?
        .ok()?;
    output.status.success().then_some(output.stdout)
}

/// The beginning of what a short-lived program writes to standard output and standard error, or `None` if it cannot be
/// started. It is ended when it takes longer than `limit`, or has written more than anybody wants to know.
pub async fn what_is_said(
    program: &Path,
    arguments: &[&str],
    directory: &Path,
    variables: &[(OsString, OsString)],
    limit: Duration,
) -> Option<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let start = Start {
        program,
        arguments: arguments.iter().map(OsStr::new).collect(),
        directory,
        variables,
        leave_terminal: None,
        user: None,
    };
    let (mut process, reader) = super::start(&start).ok()?;
    let mut said = Vec::new();
    let reading = async {
        let _ = reader.take(MOST_SAID).read_to_end(&mut said).await;
    };
    let _ = tokio::time::timeout(limit, reading).await;
    // Also after success: nothing of it goes on.
    process.group().kill();
    let _ = process.wait().await;
    Some(said)
}

/// Most that a program is listened to, in bytes.
const MOST_SAID: u64 = 64 * 1024;

/// The output of a helper program that reads `input`, or `None` if it is not there, is ended by a signal, takes longer than
/// `limit`, or writes more than `most` bytes. Its status is the caller's to judge by what it wrote.
#[must_use]
pub fn filter(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
    limit: Duration,
    most: u64,
) -> Option<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::process::CommandExt as _;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let group = Group(Pid::from_raw(i32::try_from(child.id()).ok()?)?);
    let (mut to, from) = (child.stdin.take()?, child.stdout.take()?);
    let (done, output) = std::sync::mpsc::channel();
    let input = input.to_vec();
    // What the program does not want to read is no fault of its.
    std::thread::spawn(move || to.write_all(&input));
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = from.take(most + 1).read_to_end(&mut text);
        // Nobody listens any longer when the time is over.
        let _ = done.send(read.map(|_| text));
    });
    let read = output.recv_timeout(limit).ok().and_then(Result::ok);
    // Also after success: with it gone, neither thread waits for a pipe.
    group.kill();
    let status = child.wait().ok()?;
    // Killed after its output had ended is as good as ended.
    let ended = status.code().is_some() || status.signal() == Some(Signal::KILL.as_raw());
    read.filter(|text| ended && text.len() as u64 <= most)
}

/// What a helper program said.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output. May hold secrets: the reason why this has no `Debug`.
    pub output: Vec<u8>,
}

/// Asks a helper program: gives it `input`, and returns what it wrote to standard output once it has ended. It has this
/// process's variables, with `variables` in place of those of the same name.
///
/// Fails if it cannot be started, takes longer than `limit`, or writes more than `most` bytes. Either way nothing of its
/// group is left.
pub fn ask(
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &OsStr)],
    input: &[u8],
    limit: Duration,
    most: u64,
) -> io::Result<Answer> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::process::CommandExt as _;
    let deadline = Instant::now() + limit;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = Group(group.ok_or_else(|| io::Error::other("a process without a number"))?);
    let (to, from) = (child.stdin.take(), child.stdout.take());
    let (done, output) = std::sync::mpsc::channel();
    let input = input.to_vec();
    // What the program does not want to read is no fault of its.
    std::thread::spawn(move || to.map(|mut to| to.write_all(&input)));
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = from.map(|from| from.take(most + 1).read_to_end(&mut text));
        // Nobody listens any longer when the time is over.
        let _ = done.send(read.transpose().map(|_| text));
    });
    let read = output
        .recv_timeout(limit)
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
        .flatten()
        .and_then(|text| {
            if text.len() as u64 > most {
                Err(io::Error::other("it wrote far more than an answer"))
            } else {
                Ok(text)
            }
        });
    let ended = read.and_then(|text| Ok((text, wait_until(&mut child, deadline)?)));
    // What it left behind, or the program itself if it did not end.
    group.kill();
    if ended.is_err() {
        let _ = child.wait();
    }
    let (output, status) = ended?;
    Ok(Answer {
        exit: exit(status),
        output,
    })
}

/// Waits for the end of a process that has closed its output.
fn wait_until(child: &mut std::process::Child, deadline: Instant) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_ends_whatever_it_does() {
        let run = |script: &str, input: &[u8]| {
            let limit = Duration::from_millis(300);
            filter(Path::new("/bin/sh"), &["-c", script], input, limit, 1000)
        };
        assert_eq!(run("cat; exit 1", b"text").as_deref(), Some(&b"text"[..]));
        assert_eq!(run("exec sleep 600", b""), None);
        assert_eq!(run("yes", b""), None);
        // More than a pipe holds, and nobody reads it.
        assert_eq!(
            run("echo", &vec![b'x'; 1 << 20]).as_deref(),
            Some(&b"\n"[..])
        );
        let nowhere = filter(Path::new("/nowhere"), &[], b"", Duration::MAX, 1);
        assert_eq!(nowhere, None);
    }

    #[test]
    fn a_helper_that_is_asked_ends_whatever_it_does() {
        const HELPER: Duration = Duration::from_secs(9);
        let ask = |script: &str, input: &[u8]| {
            let limit = Duration::from_millis(300);
            let variables = [("GREETING", OsStr::new("hello"))];
            let shell = Path::new("/bin/sh");
            let answer = ask(shell, &["-c", script], &variables, input, limit, 1000);
            answer
                .map(|answer| (answer.exit, String::from_utf8(answer.output).unwrap()))
                .map_err(|error| error.kind())
        };
        let said = ask("echo $GREETING; cat; exit 3", b"you");
        assert_eq!(said, Ok((Exit::Exited(3), "hello\nyou".to_owned())));
        assert_eq!(ask("exec sleep 600", b""), Err(io::ErrorKind::TimedOut));
        let closed = ask("exec >&-; exec sleep 600", b"");
        assert_eq!(closed, Err(io::ErrorKind::TimedOut));
        assert_eq!(ask("yes", b""), Err(io::ErrorKind::Other));
        assert!(super::ask(Path::new("/nowhere"), &[], &[], b"", HELPER, 1).is_err());
    }
}
