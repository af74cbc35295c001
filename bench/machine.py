"""The machine and the versions that the figures were measured with."""

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "strongroom",
    "fastapi",
    "starlette",
    "pydantic",
    "uvicorn",
    "uvloop",
    "httptools",
    "aiosqlite",
    "aiosqlitepool",
    "sqlalchemy",
)
MEMORY_DISK_US = 20.0
"""A sync faster than this does not reach a disk."""


def machine(data: Path) -> dict[str, str]:
    """Processor, memory, the disk of `data`, the kernel and the load."""
    microseconds = sync_us(data)
    disk = f"{microseconds:.0f} µs for an fsync of 4 KiB (median), {_file_system(data)}"
    if microseconds < MEMORY_DISK_US:
        disk += ": too fast for a disk, so writes look better than they are"
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "disk": disk,
        "kernel": f"{platform.system()} {platform.release()}",
        "load before the run": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """The versions of the programs and packages."""
    found = {
        "Python": platform.python_version(),
        "SQLite (in Python)": sqlite3.sqlite_version,
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def program_version(name: str) -> str | None:
    """The version that the program prints; `None` when it is not installed."""
    path = shutil.which(name)
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or None


def sync_us(directory: Path, times: int = 100) -> float:
    """The median time of writing 4 KiB to the disk, in microseconds."""
    path = directory / "sync.probe"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(taken) * 1_000_000


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """The kind of file system that holds `directory`."""
    best, kind = "", "unknown"
    resolved = str(directory.resolve())
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, mount, found, *_ = line.split()
        inside = mount == "/" or resolved == mount or resolved.startswith(f"{mount}/")
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind
