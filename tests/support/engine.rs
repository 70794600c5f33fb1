//! Engines that are not as they should be: what stands between the program and a real one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::container::engine_socket;

/// An engine on a socket which passes everything on until a request is the one: then the beginning of its answer, and from
/// there on nothing to anybody, though every connection stays open.
pub(crate) fn hanging_engine(
    socket: &Path,
    is_the_one: impl Fn(&str) -> bool + Send + Sync + 'static,
) {
    let listener = std::os::unix::net::UnixListener::bind(socket).expect("a fresh place");
    let hangs = Arc::new(AtomicBool::new(false));
    let is_the_one = Arc::new(is_the_one);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let (hangs, is_the_one) = (Arc::clone(&hangs), Arc::clone(&is_the_one));
            thread::spawn(move || {
                let mut engine = UnixStream::connect(engine_socket()).expect("the engine is there");
                let mut request = vec![0; 64 * 1024];
                let read = client.read(&mut request).unwrap_or(0);
                if is_the_one(&String::from_utf8_lossy(&request[..read])) {
                    hangs.store(true, Ordering::SeqCst);
                    let _ = engine.write_all(&request[..read]);
                    let mut head = [0; 1];
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n") && engine.read_exact(&mut head).is_ok() {
                        seen.extend(head);
                    }
                    let _ = client.write_all(&seen);
                } else if !hangs.load(Ordering::SeqCst) {
                    let _ = engine.write_all(&request[..read]);
                    let clone = |one: &UnixStream| one.try_clone().expect("a socket can be cloned");
                    let (from, to) = (clone(&client), clone(&engine));
                    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
                    return pass(engine, client, |to| to.shutdown(Shutdown::Write));
                }
                // Until the program gives up.
                let _ = io::copy(&mut client, &mut io::sink());
            });
        }
    });
}

/// An engine on a socket which gives answers of its own to the requests that have one, and passes everything else on.
pub(crate) fn answering_engine(
    socket: &Path,
    answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
) {
    let listener = std::os::unix::net::UnixListener::bind(socket).expect("a fresh place");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut request = vec![0; 64 * 1024];
                let read = client.read(&mut request).unwrap_or(0);
                if let Some(answer) = answer(&String::from_utf8_lossy(&request[..read])) {
                    let _ = client.write_all(&answer);
                    return;
                }
                let mut engine = UnixStream::connect(engine_socket()).expect("the engine is there");
                let _ = engine.write_all(&request[..read]);
                let clone = |one: &UnixStream| one.try_clone().expect("a socket can be cloned");
                let (from, to) = (clone(&client), clone(&engine));
                thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
                pass(engine, client, |to| to.shutdown(Shutdown::Write));
            });
        }
    });
}

/// Passes connections on to a socket, until it is cut: an engine that is reached over TCP, and one that goes away.
pub(crate) struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<(TcpStream, UnixStream)>>>,
}

impl Proxy {
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let cut = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (is_cut, opened, socket) = (
            Arc::clone(&cut),
            Arc::clone(&connections),
            socket.to_owned(),
        );
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(engine) = UnixStream::connect(&socket) else {
                    continue;
                };
                join(&client, &engine);
                if let Ok(mut opened) = opened.lock() {
                    opened.push((client, engine));
                }
            }
        });
        Self {
            port,
            cut,
            connections,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for (client, engine) in self.connections.lock().expect("nobody failed").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = engine.shutdown(Shutdown::Both);
        }
    }
}

fn join(client: &TcpStream, engine: &UnixStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let cloned = |stream: &UnixStream| stream.try_clone().expect("a socket can be cloned");
    let (from, to) = (clone(client), cloned(engine));
    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
    let (from, to) = (cloned(engine), clone(client));
    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
}

fn pass<R: Read, W: Write>(mut from: R, mut to: W, end: impl Fn(&W) -> io::Result<()>) {
    let _ = io::copy(&mut from, &mut to);
    let _ = end(&to);
}
