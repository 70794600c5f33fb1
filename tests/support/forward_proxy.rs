//! A forward proxy for tests, which counts what comes its way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Who sends requests through a proxy, and what he has to say for it.
pub(crate) const USER: &str = "somebody";
pub(crate) const PASSWORD: &str = "sesame-open-wide";

/// What a proxy is told of them, as HTTP has it.
pub(crate) const BASIC: &str = "Basic c29tZWJvZHk6c2VzYW1lLW9wZW4td2lkZQ==";

/// What a request to a proxy began with: its line, and what it said of who sends it.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A forward proxy on loopback.
pub(crate) struct ForwardProxy {
    port: u16,
    seen: Seen,
    is_out: Arc<AtomicBool>,
}

impl ForwardProxy {
    /// One that leads wherever it is asked to.
    pub(crate) fn anywhere() -> Self {
        Self::start(None, None)
    }

    /// One by which every host leads to one address. It answers with this instead of passing on, if there is something.
    pub(crate) fn new(upstream: &str, answer: Option<&'static str>) -> Self {
        Self::start(Some(upstream.to_owned()), answer)
    }

    fn start(upstream: Option<String>, answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let seen = Seen::default();
        let is_out = Arc::new(AtomicBool::new(false));
        let (log, out) = (Arc::clone(&seen), Arc::clone(&is_out));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if out.load(Ordering::Relaxed) {
                    continue;
                }
                let (upstream, log) = (upstream.clone(), Arc::clone(&log));
                thread::spawn(move || {
                    let _ = pass(client, upstream.as_deref(), &log, answer);
                });
            }
        });
        Self { port, seen, is_out }
    }

    /// From now on it closes every connection at once, or does so no more.
    pub(crate) fn set_out(&self, is_out: bool) {
        self.is_out.store(is_out, Ordering::Relaxed);
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address_with_credentials(&self) -> String {
        format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// How many requests began like this, all of them with these words about who sends them.
    pub(crate) fn count(&self, start: &str, credentials: Option<&str>) -> usize {
        let seen = self.seen.lock().expect("no thread panics with it");
        let begun: Vec<_> = seen
            .iter()
            .filter(|(line, _)| line.starts_with(start))
            .collect();
        for (line, said) in &begun {
            assert_eq!(said.as_deref(), credentials, "{line}");
        }
        begun.len()
    }
}

fn pass(
    client: TcpStream,
    upstream: Option<&str>,
    log: &Seen,
    answer: Option<&str>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut head, mut said) = (String::new(), None);
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field)? == 0 || field == "\r\n" {
            break;
        }
        match field.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => {
                said = Some(value.trim_end().to_owned());
            }
            _ => head.push_str(&field),
        }
    }
    let seen = (line.trim_end().to_owned(), said);
    log.lock().expect("no thread panics with it").push(seen);
    let mut client = client;
    if let Some(answer) = answer {
        client.write_all(answer.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
        return Ok(());
    }
    let target = line.split(' ').nth(1).unwrap_or_default();
    let host = target.trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    let mut server = TcpStream::connect(upstream.unwrap_or(host))?;
    if line.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        // From the absolute form to the origin's; one request a connection, so that each is seen.
        let whole = line.replacen(&format!("http://{host}"), "", 1);
        server.write_all(format!("{whole}Connection: close\r\n{head}\r\n").as_bytes())?;
    }
    let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let answering = thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = answering.join();
    Ok(())
}

/// A port that nobody listens at.
pub(crate) fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
