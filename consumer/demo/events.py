"""Turns the engine's decisions into security events (design section 4)."""

import uuid
from datetime import UTC, datetime
from typing import Any

from consumer.demo.actions import Action, ApplyPatch, CallTool, Connect, ReadFile, ReadText, RunCommand, WriteFile
from consumer.demo.engine import DemoSession, DemoVerdict

AGENT_VERSION = "1.4.0"


def decided(session: DemoSession, action: Action, verdict: DemoVerdict, now: float) -> dict[str, Any]:
    """The event of one decision; ``now`` is seconds since the epoch."""
    resource = _resource(action)
    event = _event(session, verdict, event_type(action, verdict), resource["type"], resource, now)
    event["action"] = _verb(action)
    indicator = None if verdict.allowed else _indicator(action)
    event["threat"] = {} if indicator is None else {"indicator": indicator}
    return event


def session_started(session: DemoSession, verdict: DemoVerdict, now: float) -> dict[str, Any]:
    """The event of the beginning of a session."""
    return _event(session, verdict, "session_start", "session", _of(session), now)


def session_ended(session: DemoSession, verdict: DemoVerdict, now: float) -> dict[str, Any]:
    """The event of the end of a session, which ends every problem of the session."""
    return _event(session, verdict, "session_end", "session", _of(session), now)


def event_type(action: Action, verdict: DemoVerdict) -> str:
    """The type of a decision's event. It depends on the verdict, and for a denial on the guard and the action."""
    if verdict.allowed:
        return "guard_warn" if verdict.severity == "medium" else "policy_allow"
    if verdict.guard == "secret_leak":
        return "secret_detected"
    if isinstance(action, Connect):
        return "egress_blocked"
    if verdict.guard == "forbidden_path":
        return "forbidden_path"
    if isinstance(action, ApplyPatch):
        return "patch_rejected"
    return "guard_block"


def _event(
    session: DemoSession, verdict: DemoVerdict, type_: str, category: str, resource: dict[str, Any], now: float
) -> dict[str, Any]:
    return {
        "schema_version": "1.0.0",
        "event_id": str(uuid.uuid4()),
        "event_type": type_,
        "event_category": category,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "agent": {"id": session.agent_id, "name": session.agent_name, "version": AGENT_VERSION, "type": "llm"},
        "session": {
            "id": session.id,
            "user_id": session.user_id,
            "tenant_id": session.tenant_id,
            "environment": session.environment,
        },
        "outcome": "success" if verdict.allowed else "failure",
        "decision": {
            "allowed": verdict.allowed,
            "guard": verdict.guard,
            "severity": verdict.severity,
            "reason": verdict.reason,
            "policy_hash": verdict.policy_hash,
            "ruleset": verdict.ruleset,
        },
        "resource": resource,
        "metadata": {"source": "clawdstrike-alerting demo"},
        "labels": {"team": session.team},
    }


def _resource(action: Action) -> dict[str, Any]:
    match action:
        case ReadFile(path) | WriteFile(path, _) | ApplyPatch(path, _):
            return {"type": "file", "name": path, "path": path}
        case Connect(host, port):
            return {"type": "network", "name": f"{host}:{port}", "host": host, "port": port}
        case RunCommand(command):
            return {"type": "process", "name": command}
        case CallTool(tool, _):
            return {"type": "tool", "name": tool}
        case ReadText(source, _):
            return {"type": "tool", "name": source}


def _verb(action: Action) -> str:
    match action:
        case ReadFile():
            return "file_access"
        case WriteFile():
            return "file_write"
        case Connect():
            return "egress"
        case RunCommand():
            return "shell"
        case ApplyPatch():
            return "patch"
        case CallTool():
            return "mcp_tool"
        case ReadText():
            return "untrusted_text"


def _indicator(action: Action) -> dict[str, str] | None:
    match action:
        case Connect(host, _):
            return {"type": "domain", "value": host}
        case ReadFile(path) | WriteFile(path, _) | ApplyPatch(path, _):
            return {"type": "file_path", "value": path}
        case RunCommand(command):
            return {"type": "pattern", "value": command}
    return None


def _of(session: DemoSession) -> dict[str, Any]:
    return {"type": "configuration", "name": session.id}
