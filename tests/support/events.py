"""Events as the engine writes them, for tests."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson


def event(
    *,
    guard: str = "forbidden_path",
    severity: str = "critical",
    session: str = "sess-1",
    allowed: bool = False,
    event_type: str | None = None,
    tenant: str | None = "acme-corp",
    reason: str = "Access to forbidden path: /etc/shadow",
    resource: str = "/etc/shadow",
    at: float | None = None,
    labels: dict[str, str] | None = None,
    event_id: str | None = None,
) -> dict[str, Any]:
    """One security event; by default a critical denial of now."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return {
        "schema_version": "1.0.0",
        "event_id": event_id or str(uuid.uuid4()),
        "event_type": event_type or ("policy_allow" if allowed else "guard_block"),
        "event_category": "file",
        "timestamp": moment.isoformat().replace("+00:00", "Z"),
        "agent": {"id": "agent-7", "name": "coder", "version": "1.2.0", "type": "llm"},
        "session": {"id": session, "user_id": "u-42", "tenant_id": tenant, "environment": "production"},
        "outcome": "success" if allowed else "failure",
        "action": "read",
        "threat": {},
        "decision": {
            "allowed": allowed,
            "guard": guard,
            "severity": severity,
            "reason": "Allowed" if allowed else reason,
            "policy_hash": "sha256:0f343b0931126a20f133d67c2b018a3b",
            "ruleset": "strict",
        },
        "resource": {"type": "file", "name": resource, "path": resource},
        "metadata": {"step": 3},
        "labels": labels or {},
    }


def session_end(session: str = "sess-1", *, at: float | None = None) -> dict[str, Any]:
    """The end of a session; by default now."""
    return event(
        session=session,
        allowed=True,
        event_type="session_end",
        guard="engine",
        severity="info",
        reason="Allowed",
        at=at,
    )


def encode(fields: dict[str, Any]) -> bytes:
    """The event as the engine serialises it."""
    return orjson.dumps(fields)
