//! A shell in a container, at the terminal: through the engine's exec, with a terminal of its own on the other side.

use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::PROGRAM;
use crate::engine::{self, Engine};
use crate::event::Exit;
use crate::exec::terminal::Terminal;
use crate::exec::{Cancel, Error, Escalation};

/// How long an engine may take to say how a shell ended, or to learn of a new size.
const ENGINE_LIMIT: Duration = Duration::from_secs(10);

/// Runs a shell in the container, in the state that was saved there, until it ends or is told to.
pub async fn enter(
    engine: &Engine,
    container: &str,
    terminal: &Terminal,
    cancel: &mut Cancel,
) -> Result<Exit, Error> {
    let doing = "start a shell in the container";
    let failed = |error| Error::Engine(engine::Error::api(doing, error));
    let api = engine.api();
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(true),
        user: Some("0:0".to_owned()),
        cmd: Some(vec![PROGRAM.to_owned(), "shell".to_owned()]),
        env: terminal.kind().map(|kind| vec![format!("TERM={kind}")]),
        working_dir: Some("/".to_owned()),
        ..Default::default()
    };
    let exec = api.create_exec(container, config).await.map_err(failed)?.id;
    let options = StartExecOptions {
        tty: true,
        ..Default::default()
    };
    let started = api.start_exec(&exec, Some(options)).await.map_err(failed)?;
    let StartExecResults::Attached {
        mut output,
        mut input,
    } = started
    else {
        return Err(Error::InContainer {
            message: "the engine did not attach to the shell".to_owned(),
        });
    };
    let system = |source| Error::System {
        doing: "use the terminal",
        source,
    };
    let mut sizes = signal(SignalKind::window_change()).map_err(system)?;
    {
        let _raw = terminal.raw().map_err(system)?;
        resize(engine, &exec, terminal).await;
        let mut keys = [0; 4096];
        let mut typing = true;
        loop {
            tokio::select! {
                shown = output.next() => match shown {
                    Some(Ok(shown)) => terminal.write(&shown.into_bytes()).await.map_err(system)?,
                    Some(Err(_)) | None => break,
                },
                read = terminal.read(&mut keys), if typing => match read {
                    // The shell on the other side may have ended meanwhile; its output says so.
                    Ok(read) if read > 0 => {
                        let _ = input.write_all(&keys[..read]).await;
                        let _ = input.flush().await;
                    }
                    // The terminal is gone.
                    _ => {
                        typing = false;
                        let _ = input.shutdown().await;
                    }
                },
                _ = sizes.recv() => resize(engine, &exec, terminal).await,
                Ok(_) = cancel.wait_for(|asked| *asked > Escalation::None) => break,
            }
        }
    }
    exit_of(engine, &exec).await
}

async fn resize(engine: &Engine, exec: &str, terminal: &Terminal) {
    if let Some((rows, columns)) = terminal.size() {
        let size = ResizeExecOptionsBuilder::default()
            .h(i32::from(rows))
            .w(i32::from(columns));
        let resized = engine.api().resize_exec(exec, size.build());
        // A shell of another size is a shell all the same.
        let _ = tokio::time::timeout(ENGINE_LIMIT, resized).await;
    }
}

async fn exit_of(engine: &Engine, exec: &str) -> Result<Exit, Error> {
    let doing = "ask how the shell ended";
    let found = tokio::time::timeout(ENGINE_LIMIT, engine.api().inspect_exec(exec)).await;
    let found = found.map_err(|_| {
        Error::Engine(engine::Error::Connection {
            doing: doing.to_owned(),
            reason: "the engine did not answer in time".to_owned(),
        })
    })?;
    let found = found.map_err(|error| Error::Engine(engine::Error::api(doing, error)))?;
    let code = found.exit_code.and_then(|code| i32::try_from(code).ok());
    Ok(code.map_or(Exit::Unknown, Exit::Exited))
}
