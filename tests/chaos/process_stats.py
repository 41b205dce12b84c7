"""What a member has: memory, open files, connections, tasks. All but the tasks is read from outside, from ``/proc``."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Service

_REMOTE_ADDRESS, _STATE, _INODE = 2, 3, 9
"""Columns of ``/proc/net/tcp`` (proc(5))."""
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """What a process has. ``kafka`` and ``provider`` are connections, and among the ``files``."""

    resident_mib: float
    files: int
    kafka: int
    provider: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.resident_mib:.1f} MiB, {self.files}, {self.kafka}, {self.provider}, {self.tasks}"


async def process_stats(member: Service, kafka_ports: Collection[int], provider_port: int) -> ProcessStats:
    """What a member has now."""
    process = Path(f"/proc/{member.process.pid}")
    files = [os.readlink(file) for file in (process / "fd").iterdir() if file.is_symlink()]
    ports = [port for inode, port in _connections(process) if f"socket:[{inode}]" in files]
    pages = int((process / "statm").read_text().split()[1])
    return ProcessStats(
        resident_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        files=len(files),
        kafka=sum(port in kafka_ports for port in ports),
        provider=ports.count(provider_port),
        tasks=int(await member.metric("asyncio_tasks")),
    )


def _connections(process: Path) -> Iterator[tuple[str, int]]:
    """The inode and the remote port of every established connection in the process's network."""
    for line in (process / "net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[_STATE] == _ESTABLISHED:
            yield columns[_INODE], int(columns[_REMOTE_ADDRESS].rpartition(":")[2], 16)
