"""A server that behaves like PagerDuty's and OpsGenie's real APIs as documented, for the demo and the tests.

``running_sandbox`` serves a ``Sandbox`` in this process; ``python -m providers.sandbox`` serves one in its own.
A request's way is in `providers.sandbox.app`: read, journal, fault, apply, answer.
"""

from providers.sandbox.app import running_sandbox
from providers.sandbox.call import Call, Moment, Reply
from providers.sandbox.faults import (
    AddHeaders,
    Answer,
    ArmedFault,
    Delay,
    Drop,
    FailLater,
    Fault,
    Faults,
    Hang,
    LandLate,
    LoseAnswer,
)
from providers.sandbox.incidents import Incident
from providers.sandbox.journal import Entry
from providers.sandbox.sandbox import Sandbox, Settings
from providers.sandbox.webhooks import Mischief, Subscription, Webhook

__all__ = [
    "AddHeaders",
    "Answer",
    "ArmedFault",
    "Call",
    "Delay",
    "Drop",
    "Entry",
    "FailLater",
    "Fault",
    "Faults",
    "Hang",
    "Incident",
    "LandLate",
    "LoseAnswer",
    "Mischief",
    "Moment",
    "Reply",
    "Sandbox",
    "Settings",
    "Subscription",
    "Webhook",
    "running_sandbox",
]
