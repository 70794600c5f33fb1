//! Waiting that ends: nothing in the tests is waited for without a limit, so that what hangs fails and says what it wrote.
//! The limit is generous and measures nothing.

use std::io::{self, BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Longest that one thing is waited for.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// What some work comes to. Fails if it takes for ever.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    match result.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: nothing came within {LIMIT:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{what}: failed"),
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool + Send + 'static) {
    within(what, move || {
        while !is_so() {
            thread::yield_now();
        }
    });
}

/// A line of a stream, and the stream after it.
#[track_caller]
pub(crate) fn read_until(stream: ChildStdout, wanted: &'static str) -> BufReader<ChildStdout> {
    within(&format!("the line {wanted:?}"), move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line.trim_end() != wanted {
            line.clear();
            let read = stream.read_line(&mut line).expect("it can be read");
            assert_ne!(read, 0, "it ended before {wanted:?}");
        }
        stream
    })
}

/// The end of a process. One that does not end is ended.
#[track_caller]
pub(crate) fn end(mut child: Child) -> ExitStatus {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (done, status) = mpsc::channel();
    thread::spawn(move || done.send(child.wait()));
    let Ok(status) = status.recv_timeout(LIMIT) else {
        let _ = kill_process(pid.expect("a child has a number"), Signal::KILL);
        panic!("it did not end within {LIMIT:?}");
    };
    status.expect("a child can be waited for")
}

/// [`Command::output`], with a limit.
pub(crate) trait Bounded {
    /// Runs it to its end, without standard input unless it has one of its own.
    fn bounded_output(&mut self) -> io::Result<Output>;
}

impl Bounded for Command {
    #[track_caller]
    fn bounded_output(&mut self) -> io::Result<Output> {
        heed_signals();
        self.stdin(Stdio::null());
        let child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(output(child))
    }
}

/// [`Child::wait_with_output`], with a limit. Fails with what was written until then.
#[track_caller]
pub(crate) fn output(mut child: Child) -> Output {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (stdout, out_over) = collect(child.stdout.take());
    let (stderr, err_over) = collect(child.stderr.take());
    let (ended, status) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait()));
    let status = status.recv_timeout(LIMIT);
    if status.is_err() {
        let _ = kill_process(pid.expect("a child has a number"), Signal::KILL);
    }
    // The end of a stream: whoever still holds it open lives longer than the program.
    let over =
        [out_over, err_over].map(|over| over.recv_timeout(LIMIT) != Err(RecvTimeoutError::Timeout));
    let stdout = stdout.lock().map(|text| text.clone()).unwrap_or_default();
    let stderr = stderr.lock().map(|text| text.clone()).unwrap_or_default();
    match status {
        Ok(status) if over == [true, true] => Output {
            status: status.expect("a child can be waited for"),
            stdout,
            stderr,
        },
        _ => panic!(
            "no end within {LIMIT:?}\n--- stdout\n{}\n--- stderr\n{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        ),
    }
}

/// Reads a stream in the background. The channel is closed at its end.
fn collect(stream: Option<impl Read + Send + 'static>) -> (Arc<Mutex<Vec<u8>>>, Receiver<()>) {
    let text = Arc::new(Mutex::new(Vec::new()));
    let (open, over) = mpsc::channel();
    let collected = Arc::clone(&text);
    thread::spawn(move || {
        let _open: mpsc::Sender<()> = open;
        let Some(mut stream) = stream else { return };
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read) = stream.read(&mut chunk)
            && read > 0
        {
            if let Ok(mut text) = collected.lock() {
                text.extend_from_slice(&chunk[..read]);
            }
        }
    });
    (text, over)
}

/// What is started from here on hears signals also if whoever started the tests ignores them, as a shell does for what it
/// runs in the background. The program rightly honours that, and no test could send it any.
pub(crate) fn heed_signals() {
    /// A handler is no handler any more in a program that is started; what is ignored stays ignored.
    static HEEDED: LazyLock<()> = LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime can be made");
        let _inside = runtime.enter();
        for number in [1, 2, 3, 15] {
            if ignored & (1 << (number - 1)) != 0 {
                // It stays for the life of this process.
                let _ = signal(SignalKind::from_raw(number)).expect("a handler can be installed");
            }
        }
    });
    LazyLock::force(&HEEDED);
}
