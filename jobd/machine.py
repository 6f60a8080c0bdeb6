"""What this machine has to give: the slots of a local system whose configuration does not say."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Machine:
    processors: int
    """Those that this process may use (CPU affinity)."""
    memory: int
    """Bytes, all of the machine's."""
    gpus: tuple[int, ...]
    """Indices of NVIDIA devices."""


def machine() -> Machine:
    return Machine(len(os.sched_getaffinity(0)), psutil.virtual_memory().total, gpus())


def gpus(driver: Path = Path("/proc/driver/nvidia/gpus"), devices: Path = Path("/dev")) -> tuple[int, ...]:
    """The driver's own list, where it can be read; else the device nodes."""
    try:
        return tuple(range(len(list(driver.iterdir()))))
    except OSError:
        names = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
        return tuple(sorted(int(name.group(1)) for name in names if name))
