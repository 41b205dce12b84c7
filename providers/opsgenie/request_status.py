"""What a request's status says: https://docs.opsgenie.com/docs/alert-api#get-request-status.

202 means that a request will be processed. Its status is 404 with ``RequestNotProcessed`` until then. What the texts of
failures are is not documented, so few are known here: all others are the alert's fault if the key works, as an
undocumented text of a direct answer is.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Unavailable
from providers.classification import Reasons, accepted, classify_status, header, json_object

NOT_YET: Final = "RequestNotProcessed"

ACCEPTED_THEN_FAILED: Final = 202
"""The status of a `Rejected`, or `RouteRefused`, that came after the acceptance."""

# Of the alert that an action names. Looked for at the beginning: what follows may quote what an event has said.
_NO_ALERT: Final = re.compile(r"\s*alert (?:does not exist|is already closed|not found)", re.IGNORECASE)
_REFUSES: Final = re.compile(
    r"\s*(?:(?:the |this )?(?:api ?key|integration)\b.{0,80}?"
    r"\b(?:disabled|deleted|invalid|not (?:enabled|allowed|authorized|valid|exist))"
    r"|(?:you are |you're )?(?:not authorized|unauthorized|forbidden)\b)",
    re.IGNORECASE,
)


def read_status(
    status: int, headers: Mapping[str, str], body: bytes, *, is_action: bool, reasons: Reasons, now: float
) -> Answer:
    """What has become of a request, by the answer to the question; ``is_action``: it acted on an alert by its alias.

    As `providers.verification` takes it. An answer that says nothing of the request says nothing of its key, either.
    """
    if status == 200:
        return _read(headers, body, is_action=is_action, reasons=reasons)
    reason = reasons.read(status, body)
    if status == 404 and header(headers, "X-Opsgenie-Errortype") == NOT_YET:
        return Unavailable(status, "not processed yet")
    answer = classify_status(status, headers, reason, now)
    if isinstance(answer, Rejected):
        return Accepted(unverified=f"its status cannot be asked for, HTTP {status}: {reason}")
    return answer


def _read(headers: Mapping[str, str], body: bytes, *, is_action: bool, reasons: Reasons) -> Answer:
    said = json_object(body) or {}
    data: Any = said.get("data", said)  # the cloud API has no wrapper
    data = data if isinstance(data, dict) else {}
    succeeded, text = data.get("isSuccess", data.get("success")), data.get("status")
    if succeeded is True:
        return accepted(headers)
    if succeeded is not False:
        return Accepted(unverified="its status says neither that it succeeded nor that it failed")
    text = text if isinstance(text, str) else ""
    reason = reasons.of(f"accepted, then failed: {text or 'without a reason'}")
    if is_action and _NO_ALERT.match(text):
        return Rejected(ACCEPTED_THEN_FAILED, reason, is_plain=True)
    if _REFUSES.match(text):
        return RouteRefused(ACCEPTED_THEN_FAILED, reason)
    return Rejected(ACCEPTED_THEN_FAILED, reason)
