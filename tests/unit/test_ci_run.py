"""The check that has to pass runs every folder of tests, each once."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_of_tests_is_in_one_stream() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    streams = re.findall(r'^make test ARGS="([^"]*)"', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert sorted(" ".join(streams).split()) == sorted(settings["tool"]["pytest"]["ini_options"]["testpaths"])
