"""The same figures of another commit, measured in the same run: each right after that of this one."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.report import HEADINGS

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A folder with that commit; gone afterwards. Raises SystemExit with git's reason if there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        there = Path(folder) / "commit"
        added = _git("worktree", "add", "--quiet", "--detach", str(there), commit)
        if added.returncode:
            raise SystemExit(f"--against {commit}: {added.stderr.strip()}")
        try:
            yield there
        finally:
            _git("worktree", "remove", "--force", str(there))


def measured(there: Path, figure: str, options: Sequence[str] = ()) -> Mapping[str, float]:
    """What the bench of that folder measures of the figure, by the names of its rows; nothing if it fails there."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", figure, *options],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(there)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return read(done.stdout) if done.returncode == 0 else {}


def read(printed: str) -> dict[str, float]:
    """The column "measured" of a table as `tests.bench.report.table` prints it."""
    lines = iter(printed.splitlines())
    for line in lines:
        if re.split(r"\s{2,}", line.strip())[:2] == list(HEADINGS[:2]):
            break
    found: dict[str, float] = {}
    for line in lines:
        figure, *cells = re.split(r"\s{2,}", line.strip())
        if cells:
            with contextlib.suppress(ValueError):
                found[figure] = float(cells[0].replace(",", ""))
    return found


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
