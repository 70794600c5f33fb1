"""The benches of the agent: how soon a job's build begins, what an idle agent takes, many builds at once, a long log.

The services are those of the tests: a CodePipeline and a CloudWatch Logs of our own (`tests/services`), and moto for S3.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from material import clear, note, running, tool
from measure import BENCH, MIB, ROOT, Failure, Figure, Side, cpu, duration, end, measure, memory, ratio, share, start

PLACE = BENCH / "agent"
GROUP = "/runner/bench"

# The same commands with and without the agent: as many times as this, each two seconds or so on one core.
BUILDS = 16
WORK = "awk 'BEGIN { while (i < 100000000) i++ }'"

# What the long log has, and how many of its bytes are sent.
LOG_BYTES = 1_000_000_000
LOG_LINE = "2026-01-01T00:00:00Z [INFO] compiled module example/component/part-0042 in 12.5 ms (cached)"

# How long an idle agent is looked at: six of its questions.
IDLE_SECONDS = 60.0

# How long anything that is waited for may take.
PATIENCE = 900.0


# ── Services ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class Service:
    """A server of `tests/services`, for as long as it is needed."""

    def __init__(self, module: str) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("botocore", "moto")):
            raise Failure("botocore and moto are not there: `tests/run python3 benches/run …` brings them")
        argv = (sys.executable, "-B", "-m", module)
        at = ROOT / "tests/services"
        # It ends with its standard input.
        self.process = subprocess.Popen(argv, cwd=at, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.endpoint = self.process.stdout.readline().strip()

    def ask(self, method: str, path: str, body: object = None) -> dict:
        """What only tests ask."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/_control{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


@contextmanager
def service(module: str) -> Iterator[Service]:
    """Runs a server of `tests/services`."""
    found = Service(module)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def pipeline() -> Iterator[Service]:
    """CodePipeline, with the action type `Build/Bench/1`."""
    with service("codepipeline") as found:
        names = ("ProjectName", "Buildspec")
        properties = [{"name": name, "required": False, "key": False, "secret": False} for name in names]
        counts = {"minimumCount": 0, "maximumCount": 5}
        kind = {"category": "Build", "provider": "Bench", "version": "1", "configurationProperties": properties}
        found.ask("POST", "/action-types", kind | {"inputArtifactDetails": counts, "outputArtifactDetails": counts})
        yield found


def queue(server: Service, configuration: Mapping[str, str], inputs: Sequence[dict] = ()) -> str:
    """Adds a job, which is available at once. Its id."""
    kind = {"category": "Build", "owner": "Custom", "provider": "Bench", "version": "1"}
    job = {"actionTypeId": kind, "configuration": dict(configuration), "inputArtifacts": list(inputs)}
    return server.ask("POST", "/jobs", job)["id"]


def inline(command: str) -> dict[str, str]:
    """The configuration of an action whose buildspec is its own."""
    return {"ProjectName": "bench", "Buildspec": json.dumps({"version": 0.2, "phases": {"build": {"commands": [command]}}})}


def until(what: str, is_so: Callable[[], bool], look: float = 0.02) -> None:
    """Waits, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not come about")
        time.sleep(look)


def succeeded(server: Service, job: str) -> dict:
    """All that is known of a job that has to have succeeded."""
    until("the answer of a job", lambda: server.ask("GET", f"/jobs/{job}")["answers"] != [])
    told = server.ask("GET", f"/jobs/{job}")
    if told["status"] != "Succeeded":
        raise Failure(f"the job has {told['status']}: {json.dumps(told['answers'])}")
    return told


@contextmanager
def moto() -> Iterator[str]:
    """Runs moto on a free port and yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    with running(argv, port, "moto.log"):
        yield f"http://127.0.0.1:{port}"


# ── The agent ─────────────────────────────────────────────────────────────────────────────────────────────────────────

@contextmanager
def agent(runner: Path, arguments: Sequence[str], more: Mapping[str, str]) -> Iterator[int]:
    """Runs an agent that has polled once, and yields its process."""
    state, errors = PLACE / "state", PLACE / "agent.log"
    clear(state)
    PLACE.mkdir(parents=True, exist_ok=True)
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret-key", "AWS_REGION": "us-east-1"}
    argv = (runner, "agent", "--no-config", "--provider", "Bench", "--state", str(state), *arguments)
    pid = start(argv, {**keys, **more}, errors)
    try:
        until("the first answer", lambda: "CodePipeline answers" in errors.read_text() or not alive(pid, errors))
        yield pid
    finally:
        # No build is left that it would wait for.
        end(pid)
        clear(state)


def alive(pid: int, errors: Path) -> bool:
    """Fails if it is not."""
    if os.waitpid(pid, os.WNOHANG)[0] == pid:
        raise Failure(f"the agent ended:\n{errors.read_text()}")
    return True


def kib(pid: int, name: str) -> int:
    """A figure of the kernel's about a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


# ── From a job to its first command ───────────────────────────────────────────────────────────────────────────────────

def first_command(runner: Path, rounds: int) -> list[Figure]:
    """From the moment at which CodePipeline hands a job out to the first command of its build, less what its source takes."""
    mark = PLACE / "mark"
    # The command says itself when it began; what `date` takes to start counts for us.
    buildspec = f"version: 0.2\nphases:\n  build:\n    commands:\n      - date +%s.%N > '{mark}.new' && mv '{mark}.new' '{mark}'\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("buildspec.yml", buildspec)
    beyond = Side("runner", [])
    with ExitStack() as stack:
        server, store = stack.enter_context(pipeline()), stack.enter_context(moto())
        place = f"{store}/bench/source.zip"
        send("PUT", f"{store}/bench", b"")
        send("PUT", place, archive.getvalue())
        endpoints = {"AWS_ENDPOINT_URL": store, "AWS_ENDPOINT_URL_CODEPIPELINE": server.endpoint}
        stack.enter_context(agent(runner, ("--poll-interval", "200ms"), endpoints))
        at = {"type": "S3", "s3Location": {"bucketName": "bench", "objectKey": "source.zip"}}
        for number in range(rounds + 1):
            clear(mark)
            job = queue(server, {"ProjectName": "bench"}, [{"name": "Source", "location": at}])
            told = succeeded(server, job)
            begin = next(call["time"] for call in told["calls"] if call["operation"] == "PollForJobs")
            seconds = float(mark.read_text()) - begin
            # What one download of it takes whoever asks.
            before = time.perf_counter()
            send("GET", place)
            if number > 0:
                beyond.times.append(seconds - (time.perf_counter() - before))
    return [duration("agent-start", "from a job handed out to its first command, less the download", beyond, 0.2)]


def send(method: str, url: str, body: bytes | None = None) -> bytes:
    """A request of S3's; moto wants it signed, and does not look how."""
    signed = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    # A body without a type would be a form, which moto takes for something else.
    headers = {"Authorization": signed, "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


# ── An idle agent ─────────────────────────────────────────────────────────────────────────────────────────────────────

def idle(runner: Path, _rounds: int) -> list[Figure]:
    """What an agent takes that only asks, as often as it does by itself, over TLS as it is with AWS."""
    with pipeline() as server, encrypted(server.endpoint) as (address, trusted):
        more = {"AWS_ENDPOINT_URL": address, "SSL_CERT_FILE": str(trusted)}
        with agent(runner, ("--listen", "127.0.0.1:0"), more) as pid:
            # The first questions find out more than the others.
            until("the second question", lambda: server.ask("GET", "")["calls"]["PollForJobs"] >= 2, 0.5)
            begin, used = time.perf_counter(), cpu(pid)
            time.sleep(IDLE_SECONDS)
            used, seconds = cpu(pid) - used, time.perf_counter() - begin
            resident, peak = kib(pid, "VmRSS"), kib(pid, "VmHWM")
    return [
        memory("agent-idle", "memory of an agent that asks every 10 s, over TLS", resident, 20 * MIB),
        memory("agent-idle", "its peak memory, from its start on", peak),
        share("agent-idle", "of a core, over a minute", used / seconds, 0.001),
    ]


@contextmanager
def encrypted(endpoint: str) -> Iterator[tuple[str, Path]]:
    """Puts TLS before a server. Its address, and a file with all certificates that this machine trusts, and this one's."""
    place = PLACE / "tls"
    clear(place)
    place.mkdir(parents=True)
    key, certificate, trusted = place / "key.pem", place / "certificate.pem", place / "trusted.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE")
    tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate, *subject)
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    trusted.write_bytes((system.read_bytes() if system.exists() else b"") + certificate.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener, context, (host, int(port))), daemon=True).start()
        try:
            yield f"https://localhost:{listener.getsockname()[1]}", trusted
        finally:
            # Whoever accepts wakes up.
            listener.shutdown(socket.SHUT_RDWR)


def accept(listener: socket.socket, context: ssl.SSLContext, to: tuple[str, int]) -> None:
    """Carries what comes on, one thread a direction."""
    while True:
        try:
            outside = context.wrap_socket(listener.accept()[0], server_side=True)
        except ssl.SSLError:
            continue
        except OSError:
            return
        inside = socket.create_connection(to)
        for a, b in ((outside, inside), (inside, outside)):
            threading.Thread(target=carry, args=(a, b), daemon=True).start()


def carry(a: socket.socket, b: socket.socket) -> None:
    """What comes of one goes to the other."""
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


# ── Many builds at once ───────────────────────────────────────────────────────────────────────────────────────────────

class Jobs(Side):
    """An agent's builds as one side: from the moment at which they are available to their last answer."""

    def __init__(self, server: Service) -> None:
        super().__init__("runner", [])
        self.server = server

    def run(self) -> float:
        """Queues all and waits for all."""
        begin = time.time()
        jobs = [queue(self.server, inline(WORK)) for _ in range(BUILDS)]
        # It takes a part of the machine to ask: seldom.
        until("the end of all builds", lambda: "InProgress" not in (open_jobs := self.statuses()) and "Queued" not in open_jobs, 0.5)
        return max(succeeded(self.server, job)["answers"][0]["time"] for job in jobs) - begin

    def statuses(self) -> dict[str, int]:
        """How many jobs are how."""
        return self.server.ask("GET", "")["jobs"]


def parallel(runner: Path, rounds: int) -> list[Figure]:
    """Sixteen builds at once, beside their commands at once. Without artifacts, so that no server's work counts as ours."""
    # Two cores, whatever this machine has; what is started from here has the same.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:2]))
    try:
        with pipeline() as server:
            endpoints = {"AWS_ENDPOINT_URL": server.endpoint}
            with agent(runner, ("--jobs", str(BUILDS), "--poll-interval", "50ms"), endpoints):
                mine = Jobs(server)
                each = f"seq {BUILDS} | xargs -P {BUILDS} -I {{}} sh -c \"{WORK}\""
                peer = Side("xargs", ["sh", "-c", each])
                measure([mine, peer], rounds)
    finally:
        os.sched_setaffinity(0, cores)
    return [ratio("agent-parallel", f"{BUILDS} builds at once on 2 cores; peer `xargs -P {BUILDS}`", mine, peer, 1.05)]


# ── A long log ────────────────────────────────────────────────────────────────────────────────────────────────────────

def long_log(runner: Path, _rounds: int) -> list[Figure]:
    """A build whose log has a gigabyte that goes to CloudWatch Logs while it runs. Once: it takes minutes, most of them the
    server's. moto keeps every line as objects of Python, several gigabytes of them; ours keeps sums.
    """
    free = shutil.disk_usage(BENCH).free
    if free < 4 * LOG_BYTES:
        raise Failure(f"{free} bytes are free, and the log takes more than twice {LOG_BYTES}")
    with pipeline() as server, service("cloudwatch") as logs:
        # Its own look at the shape of ten million lines would take longer than all else.
        logs.ask("POST", "/settings", {"judge": False})
        endpoints = {"AWS_ENDPOINT_URL": logs.endpoint, "AWS_ENDPOINT_URL_CODEPIPELINE": server.endpoint}
        # The build is faster than the service: all of it may wait.
        arguments = ("--poll-interval", "200ms", "--cloudwatch-log-group", GROUP, "--log-queue-limit", "8g")
        with agent(runner, arguments, endpoints) as pid:
            begin = time.perf_counter()
            succeeded(server, queue(server, inline(f"yes '{LOG_LINE}' | head -c {LOG_BYTES}")))
            built = time.perf_counter() - begin

            def sent() -> bool:
                streams = logs.ask("GET", "/streams").get(GROUP, {})
                return sum(stream["bytes"] for stream in streams.values()) >= LOG_BYTES

            until("the end of the log", sent, 2.0)
            seconds = time.perf_counter() - begin
            peak = kib(pid, "VmHWM")
    note(f"built in {built:.0f} s, sent after {seconds:.0f} s")
    return [memory("agent-log", "peak memory of an agent that sends a log of 1 GB", peak, 64 * MIB)]
