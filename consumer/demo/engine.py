"""The real policy engine: the package ``clawdstrike``, with one instance for each rule set.

Only this module uses the package. It is imported when an engine is made, so that one line can report that it is
missing.
"""

import hashlib
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any

from consumer.demo.actions import Action, ApplyPatch, CallTool, Connect, ReadFile, ReadText, RunCommand, WriteFile
from providers.errors import UserError

SEVERITIES = {"critical": "critical", "error": "high", "warning": "medium", "info": "info"}
"""The engine's severities of a decision, and their names in a security event."""

_UNTRUSTED_TEXT = "untrusted_text"


class EngineMissing(UserError):
    """The package of the engine is not installed, or cannot be loaded here."""


@dataclass(frozen=True, slots=True)
class DemoSession:
    """One session of one agent, from which the engine and the events take their context."""

    id: str
    agent_id: str
    agent_name: str
    user_id: str
    tenant_id: str
    environment: str
    team: str
    ruleset: str


@dataclass(frozen=True, slots=True)
class DemoVerdict:
    """A decision of the engine. ``severity`` is the name used in security events."""

    allowed: bool
    guard: str
    severity: str
    reason: str
    ruleset: str
    policy_hash: str


class Engine:
    """Decides by one of the rule sets that come with the engine. Raises `EngineMissing` if the package is missing."""

    def __init__(self, ruleset: str) -> None:
        try:
            self._package: Any = import_module("clawdstrike")
        except ImportError as error:
            raise EngineMissing(str(error)) from error
        self.ruleset = ruleset
        self._engine = self._package.Clawdstrike.with_defaults(ruleset, cwd="/workspace")
        rules = files("clawdstrike").joinpath("rulesets", f"{ruleset}.yaml").read_bytes()
        self._policy_hash = f"sha256:{hashlib.sha256(rules).hexdigest()}"

    def decide(self, action: Action, session: DemoSession) -> DemoVerdict:
        """Ask the engine whether the agent may do this."""
        decision = self._ask(action, session_id=session.id, agent_id=session.agent_id)
        severity = decision.severity.value if decision.severity is not None else "info"
        return DemoVerdict(
            allowed=decision.allowed,
            guard=decision.guard or "engine",
            severity=SEVERITIES[severity],
            reason=decision.message or "Allowed",
            ruleset=self.ruleset,
            policy_hash=self._policy_hash,
        )

    def of_session(self) -> DemoVerdict:
        """The decision in the events that begin and end a session, about which the engine is not asked: allowed."""
        return DemoVerdict(True, "engine", "info", "Allowed", self.ruleset, self._policy_hash)

    def _ask(self, action: Action, **context: str) -> Any:
        engine = self._engine
        match action:
            case ReadFile(path):
                return engine.check_file(path, **context)
            case WriteFile(path, content):
                return engine.check_file(path, "write", content=content.encode(), **context)
            case Connect(host, port):
                return engine.check_network(host, port, **context)
            case RunCommand(command):
                return engine.check_command(command, **context)
            case ApplyPatch(path, diff):
                return engine.check_patch(path, diff, **context)
            case CallTool(tool, args):
                return engine.check_mcp_tool(tool, dict(args), **context)
            case ReadText(source, text):
                custom = self._package.CustomAction(_UNTRUSTED_TEXT, {"source": source, "text": text})
                return engine.check(custom, **context)
