"""Running programs in turns, and the figures that come of it."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parent.parent
# Everything that is written goes here.
BENCH = ROOT / "target/bench"
# What the program that was started last wrote to its standard error.
ERRORS = BENCH / "errors.log"

MIB = 1024 * 1024


def target() -> str:
    """The name of this kind of machine, as the compiler has it."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line for line in said.splitlines() if line.startswith("host: ")).removeprefix("host: ")


# All that a measured program gets to see of the environment: it is the same on every machine, and short, because every
# item of a build saves and reads all of it.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": str(BENCH / "home"),
    "TMPDIR": str(BENCH / "tmp"),
    "LC_ALL": "C.UTF-8",
    "ACT_DISABLE_VERSION_CHECK": "1",
}


class Failure(Exception):
    """The bench cannot be run; the text says why."""


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Leaders of the sessions that were started and are not waited for yet.
living: set[int] = set()


def start(argv: Sequence[str | Path], more: Mapping[str, str] | None = None, errors: Path = ERRORS) -> int:
    """Starts a program without input and without a terminal, with a session of its own.

    `posix_spawn`, because the cost of a start counts in runs of a few milliseconds.
    """
    words = [str(word) for word in argv]
    program = shutil.which(words[0])
    if program is None:
        raise Failure(f"there is no program `{words[0]}`")
    fresh = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(errors), fresh, 0o644),
    ]
    pid = os.posix_spawn(program, words, {**ENVIRONMENT, **(more or {})}, file_actions=actions, setsid=True)
    living.add(pid)
    return pid


def end(pid: int) -> None:
    """Ends a started program and what is in its session's first group."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                # It was waited for, and a signal came before that was noted.
                ended = True
            if ended:
                living.discard(pid)
                return
            time.sleep(0.01)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used, all its threads together."""
    # The number that the kernel has for that clock of another process.
    return time.clock_gettime((~pid << 3) | 2)


@dataclass
class Side:
    """One of the programs that are compared."""

    name: str
    argv: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    # What is done before and after every run, outside the measured time.
    prepare: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    # One figure a round, in seconds.
    times: list[float] = field(default_factory=list)
    # Peak memory of the process itself, in bytes. No less than that of this script, from which the kernel counts on.
    peak: int = 0

    def run(self) -> float:
        """Runs it once and returns the seconds that it took."""
        self.prepare()
        begin = time.perf_counter()
        pid = start(self.argv, self.environment)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        living.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            text = ERRORS.read_text(errors="replace").strip()
            raise Failure(f"{self.name} ended with {code}: {' '.join(map(str, self.argv))}\n{text}")
        self.check()
        self.peak = max(self.peak, usage.ru_maxrss * 1024)
        return seconds

    def median(self) -> float:
        """The median of its rounds."""
        return statistics.median(self.times)


def measure(sides: Sequence[Side], rounds: int, burst: int = 1) -> None:
    """Runs all sides in turns. Every second round goes backwards, so that none always follows the same one."""
    for side in sides:
        side.run()
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            side.times.append(statistics.median(side.run() for _ in range(burst)))


# ── Figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass
class Figure:
    """One line of the table."""

    HEADINGS: ClassVar[list[str]] = ["bench", "what", "runner", "peer", "ratio", "target", "met"]

    name: str
    what: str
    peer_name: str
    unit: str
    runner: float
    peer: float | None
    # Median of the ratios of the rounds. The target is for the ratio; where there is no peer, for `runner` itself.
    ratio: float | None
    target: float | None
    met: bool | None

    def cells(self) -> list[str]:
        """The cells of its line."""
        target = ""
        if self.target is not None:
            target = "≤ " + (quantity(self.target, self.unit) if self.peer is None else f"{self.target:.2f}")
        return [
            self.name,
            self.what,
            quantity(self.runner, self.unit),
            f"{self.peer_name} {quantity(self.peer, self.unit)}" if self.peer is not None else "",
            f"{self.ratio:.2f}" if self.ratio is not None else "",
            target,
            {None: "", True: "yes", False: "no"}[self.met],
        ]


def quantity(value: float, unit: str) -> str:
    """A figure for people."""
    if unit == "bytes":
        return f"{value / MIB:.1f} MiB"
    if unit == "share":
        return f"{value:.3%}"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def ratio(name: str, what: str, runner: Side, peer: Side, target: float | None) -> Figure:
    """The figure of two sides that were measured together."""
    value = statistics.median(mine / other for mine, other in zip(runner.times, peer.times, strict=True))
    met = None if target is None else value <= target
    return Figure(name, what, peer.name, "seconds", runner.median(), peer.median(), value, target, met)


def duration(name: str, what: str, side: Side, target: float) -> Figure:
    """A figure of time alone; its target is absolute, for want of a peer."""
    value = side.median()
    return Figure(name, what, "", "seconds", value, None, None, target, value <= target)


def memory(name: str, what: str, value: int, target: int | None = None) -> Figure:
    """A figure of peak memory; its target is absolute."""
    met = None if target is None else value <= target
    return Figure(name, what, "", "bytes", value, None, None, target, met)


def share(name: str, what: str, value: float, target: float) -> Figure:
    """A figure of a part of a whole; its target is absolute."""
    return Figure(name, what, "", "share", value, None, None, target, value <= target)
