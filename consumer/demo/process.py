"""Runs ``run`` and ``ingest``, each as a separate process, by the same commands that an operator uses."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from consumer.demo import child_guard

STOP_SECONDS = child_guard.GRACE_SECONDS + 2.0
TAIL_LINES = 12
_TAIL_BYTES = 64 * 1024


class ServiceProcess:
    """A running command, and the file of its log."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self.log = log

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.poll()

    def tail(self) -> str:
        """The last lines of the log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-TAIL_LINES:])


@asynccontextmanager
async def running_service(config: Path, log: Path, command: str = "run") -> AsyncIterator[ServiceProcess]:
    """Run ``clawdstrike-alerting run --config …``, or another ``command`` that lasts, for the length of the block, and
    no longer than this process."""
    process = _start([sys.executable, "-m", "consumer.cli.main", command, "--config", str(config)], log)
    try:
        yield ServiceProcess(process, log)
    finally:
        await _stop(process)


def _start(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    apart = 0
    if sys.platform == "win32":
        apart = subprocess.CREATE_NEW_PROCESS_GROUP
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", child_guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal must reach only this process, which stops the service itself
            creationflags=apart,
        )


async def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()  # the child guard then ends the command
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
