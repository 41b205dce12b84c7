"""The actions that an agent can try; the policy engine decides about each."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read a file."""

    path: str


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a file."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to a host."""

    host: str
    port: int = 443


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run a shell command."""

    command: str


@dataclass(frozen=True, slots=True)
class ApplyPatch:
    """Change a file by a unified diff."""

    path: str
    diff: str


@dataclass(frozen=True, slots=True)
class CallTool:
    """Call an MCP tool."""

    tool: str
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadText:
    """Take in a text that somebody else wrote."""

    source: str
    text: str


Action = ReadFile | WriteFile | Connect | RunCommand | ApplyPatch | CallTool | ReadText
