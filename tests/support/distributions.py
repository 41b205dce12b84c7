"""Distributions as an installer leaves them: metadata with entry points, in a folder for ``PYTHONPATH``."""

from collections.abc import Mapping
from pathlib import Path

from providers.provider import ENTRY_POINTS


def distribution(folder: Path, name: str, providers: Mapping[str, str], module: str = "") -> Path:
    """Install a distribution with these entry points of providers, and a module of its own with this text.

    The module is called as the distribution, with ``_`` for ``-``. Gives the folder.
    """
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "".join(f"{provider} = {value}\n" for provider, value in providers.items())
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{points}")
    (metadata / "RECORD").write_text("")
    (folder / f"{name.replace('-', '_')}.py").write_text(module)
    return folder
