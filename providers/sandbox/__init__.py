"""A server that behaves like PagerDuty's and OpsGenie's real APIs as documented, for the demo and the tests.

``running_sandbox`` serves a ``Sandbox`` in this process; ``python -m providers.sandbox`` serves one in its own.
A request's way is in `providers.sandbox.app`: read, journal, fault, apply, answer.
"""

from providers.sandbox.app import running_sandbox
from providers.sandbox.call import Call, CallMoment, Reply
from providers.sandbox.faults import (
    AddHeaders,
    ArmedFault,
    Delay,
    Drop,
    FailLater,
    Fault,
    Faults,
    FaultyAnswer,
    Hang,
    LandLate,
    LoseAnswer,
)
from providers.sandbox.incidents import Incident
from providers.sandbox.journal import JournalEntry
from providers.sandbox.sandbox import Sandbox, SandboxSettings
from providers.sandbox.webhooks import Mischief, SandboxSubscription, Webhook

__all__ = [
    "AddHeaders",
    "ArmedFault",
    "Call",
    "CallMoment",
    "Delay",
    "Drop",
    "FailLater",
    "Fault",
    "Faults",
    "FaultyAnswer",
    "Hang",
    "Incident",
    "JournalEntry",
    "LandLate",
    "LoseAnswer",
    "Mischief",
    "Reply",
    "Sandbox",
    "SandboxSettings",
    "SandboxSubscription",
    "Webhook",
    "running_sandbox",
]
