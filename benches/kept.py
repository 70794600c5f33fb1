"""The benches of what a build keeps and reads: its cache, and reports of tests."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

from material import clear, holds, holds_below, made, source
from measure import BENCH, MIB, Failure, Figure, Side, duration, measure, memory, ratio

# What the cache has: as many files and bytes as the dependencies of a middling project.
FILES, FILE_BYTES = 20_000, 25_000

# Least that the report has.
REPORT_BYTES = 200_000_000


def dependencies(tree: Path) -> None:
    """Files of 25 kB in 200 directories, half of them text and half chance: together they become about half as small."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(2000)]
    frequency = [1 / rank for rank in range(1, len(words) + 1)]
    for number in range(FILES):
        directory = tree / f"package{number % 200:03}"
        directory.mkdir(parents=True, exist_ok=True)
        if number % 2:
            content = chance.randbytes(FILE_BYTES)
        else:
            content = " ".join(chance.choices(words, frequency, k=6000)).encode()[:FILE_BYTES].ljust(FILE_BYTES)
        (directory / f"file{number:05}").write_bytes(content)


def cache(runner: Path, rounds: int) -> list[Figure]:
    """A build that saves its cache, and one that restores it; `tar` and `zstd` do the same by hand."""
    if shutil.which("zstd") is None:
        raise Failure("`zstd` is not installed: apt-get install zstd")
    return [save(runner, rounds), restore(runner, rounds)]


def build_of(name: str, action: str) -> Path:
    """A source whose build caches the directory `files`."""
    return source(name, ["true"], f"cache:\n  key: bench\n  action: {action}\n  paths: ['files/**/*']\n")


def save(runner: Path, rounds: int) -> Figure:
    """From the files to the archive."""
    directory = build_of("cache-save", "save")
    files = made(directory / "files", dependencies)
    store, archive = BENCH / "cache.store", BENCH / "cache.peer.tar.zst"
    # Half of the content is chance, which nobody makes smaller.
    least = FILES * FILE_BYTES // 2

    def fresh() -> None:
        clear(store)
        clear(archive)
        os.sync()

    mine = Side("runner", [runner, "run", "-C", directory, "--cache", store], prepare=fresh, check=holds_below(store, least))
    pack = f"tar -C '{files.parent}' -cf - files | zstd -q -T0 -o '{archive}'"
    peer = Side("tar | zstd -T0", ["sh", "-c", pack], prepare=fresh, check=holds(archive, least))
    measure([mine, peer], rounds)
    fresh()
    return ratio("cache", "build that saves 20,000 files, 500 MB; peer `tar | zstd -T0`", mine, peer, 1.2)


def restore(runner: Path, rounds: int) -> Figure:
    """From the archive to the files."""
    saving = build_of("cache-save", "save")
    files = made(saving / "files", dependencies)
    directory = build_of("cache-restore", "restore")
    store, archive, there = BENCH / "cache.store", BENCH / "cache.peer.tar.zst", BENCH / "cache.peer"
    clear(store)
    clear(archive)
    # One project: a cache belongs to the project that saved it.
    project = ("--project", "bench-cache", "--cache", store)
    Side("runner", [runner, "run", "-C", saving, *project]).run()
    Side("tar", ["sh", "-c", f"tar -C '{files.parent}' -cf - files | zstd -q -T0 -o '{archive}'"]).run()
    whole = FILES * FILE_BYTES

    def fresh() -> None:
        clear(directory / "files")
        clear(there)
        there.mkdir()
        os.sync()

    mine = Side("runner", [runner, "run", "-C", directory, *project], prepare=fresh, check=holds_below(directory / "files", whole))
    unpack = f"zstd -q -dc -T0 '{archive}' | tar -C '{there}' -xf -"
    peer = Side("zstd -d | tar", ["sh", "-c", unpack], prepare=fresh, check=holds_below(there, whole))
    measure([mine, peer], rounds)
    for path in (directory / "files", there, store, archive):
        clear(path)
    return ratio("cache", "build that restores them; peer `zstd -d -T0 | tar -x`", mine, peer, 1.2)


def large_report(path: Path) -> None:
    """A JUnit file as test runners write them, of 200 MB: a failure with a trace in every hundredth case."""
    trace = "\n".join(f"  at example.component.Part{line}.check(Part.java:{line})" for line in range(40))
    with path.open("w") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
        suite = 0
        while file.tell() < REPORT_BYTES:
            file.write(f'<testsuite name="example.Suite{suite}" tests="1000" failures="10">\n')
            for case in range(1000):
                start = f'<testcase classname="example.Suite{suite}" name="does what it should, case {case}" time="0.0{case:03}"'
                failure = f'><failure message="expected 1, was 2">{trace}</failure></testcase>\n'
                file.write(start + (failure if case % 100 == 0 else "/>\n"))
            file.write("</testsuite>\n")
            suite += 1
        file.write("</testsuites>\n")


# What only says whether the file is well-formed.
EXPAT = "import sys, xml.parsers.expat as e; e.ParserCreate().ParseFile(open(sys.argv[1], 'rb'))"


def reports(runner: Path, rounds: int) -> list[Figure]:
    """A build whose report is one large file; a parser that does nothing else reads it too."""
    group = "reports:\n  bench:\n    files: [report.xml]\n    file-format: JUNITXML\n"
    directory = source("reports", ["true"], group)
    report = made(directory / "report.xml", large_report)
    size = report.stat().st_size / 1e6
    summary = directory / ".runner/reports/summary.json"

    def fresh() -> None:
        clear(summary)

    mine = Side("runner", [runner, "run", "-C", directory], prepare=fresh, check=holds(summary, 100))
    if shutil.which("xmllint") is not None:
        peer = Side("xmllint", ["xmllint", "--noout", "--huge", "--stream", report])
    else:
        peer = Side("expat", [sys.executable, "-c", EXPAT, report])
    measure([mine, peer], rounds)
    fresh()
    megabyte = Side("runner", mine.argv, times=[seconds / size for seconds in mine.times])
    return [
        ratio("reports", f"build that reads a JUnit file of {size:.0f} MB; yardstick {peer.name}, which keeps nothing", mine, peer, None),
        duration("reports", "one megabyte of it", megabyte, 0.025),
        memory("reports", "peak memory of that build", mine.peak, 64 * MIB),
    ]
