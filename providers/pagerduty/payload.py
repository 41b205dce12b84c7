"""The body of a PagerDuty event, field by field.

https://developer.pagerduty.com/docs/send-alert-event
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from providers.alert_summary import origin_fields, summary_fields
from providers.notification import Acknowledge, Notification, Resolve, Trigger
from providers.pagerduty.settings import Image, Link, PagerDutySettings, PayloadField
from providers.template import Template
from providers.text import ELLIPSIS, fit, one_line, shorten
from providers.timestamps import normalized
from state.violation import Violation

SUMMARY_LIMIT: Final = 1024
"""The most characters of ``payload.summary``."""

FIELD_LIMIT: Final = 1024
"""The most characters of the short fields (source, component, group, class). PagerDuty states no limit for these
names."""

REQUEST_LIMIT: Final = 512_000
"""The most bytes of a whole request. PagerDuty's page says 512 KB; this is the smaller reading of that."""

DETAIL_LIMIT: Final = 1024
"""The most characters of one label, and of one detail that a template makes. PagerDuty states no limit."""

MOST_LABELS: Final = 50
"""How many labels of an event are passed on."""

_NAME_LIMIT = 128
"""The most characters of a label's name."""

_MOST_BYTES_OF_A_CHARACTER = 4
_ROOM_FOR_CUTS = 4096
"""Bytes kept free when a request is shrunk, for quotes, escapes and ellipses."""


@dataclass(frozen=True, slots=True)
class _Address:
    """A link or an image: its addresses and its texts, by the names of their fields.

    The first address is what it is about: without it there is none.
    """

    addresses: tuple[tuple[str, Template], ...]
    texts: tuple[tuple[str, Template], ...]

    def render(self, violation: Violation) -> dict[str, str] | None:
        rendered: dict[str, str] = {}
        for name, template in self.addresses:
            address = template.address(violation)
            if address is not None:
                rendered[name] = address
            elif not rendered:
                return None
        for name, template in self.texts:
            rendered[name] = shorten(template.text(violation), FIELD_LIMIT)
        return rendered


def _link(link: Link) -> _Address:
    return _Address((("href", Template(link.href)),), _given(text=link.text))


def _image(image: Image) -> _Address:
    return _Address((("src", Template(image.src)), *_given(href=image.href)), _given(alt=image.alt))


def _given(**texts: str | None) -> tuple[tuple[str, Template], ...]:
    return tuple((name, Template(text)) for name, text in texts.items() if text)


class Payloads:
    """Makes the bodies of requests out of notifications, by the settings.

    Raises `ValueError` if a template of the settings has an unknown placeholder.
    """

    def __init__(self, settings: PagerDutySettings) -> None:
        self._severities: Mapping[str, str] = dict(settings.severity_mapping.items())
        self._fields = {name: Template(text) for name, text in settings.payload.items()}
        self._with_details = settings.custom_details
        self._extra = {name: Template(text) for name, text in settings.extra_details.items()}
        self._client = shorten(one_line(settings.client), FIELD_LIMIT)
        self._client_url = Template(settings.client_url) if settings.client_url else None
        self._links = [_link(link) for link in settings.links]
        self._images = [_image(image) for image in settings.images]

    def body(self, routing_key: str, notification: Notification) -> dict[str, Any]:
        """The body of one request. The dedup key stands in it as it is: cut, it would be another alert's."""
        match notification:
            case Trigger():
                return self._trigger(routing_key, notification)
            case Acknowledge(dedup_key):
                return {"routing_key": routing_key, "event_action": "acknowledge", "dedup_key": dedup_key}
            case Resolve(dedup_key):
                return {"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key}

    def _trigger(self, routing_key: str, trigger: Trigger) -> dict[str, Any]:
        violation = trigger.violation
        payload: dict[str, Any] = {
            "summary": self._field("summary", violation),
            "source": self._field("source", violation),
            "severity": self._severities[trigger.severity.label],
            "component": self._field("component", violation),
            "group": self._field("group", violation),
            "class": self._field("class", violation),
        }
        moment = normalized(violation.timestamp)
        if moment is not None:
            payload["timestamp"] = moment
        details = _details(trigger) if self._with_details else {}
        details.update(self._extra_details(violation))
        if details:
            payload["custom_details"] = details
        body: dict[str, Any] = {
            "routing_key": routing_key,
            "event_action": "trigger",
            "dedup_key": trigger.dedup_key,
            "payload": payload,
            "client": self._client,
        }
        if self._client_url is not None and (client_url := self._client_url.address(violation)) is not None:
            body["client_url"] = client_url
        if links := _rendered(self._links, violation):
            body["links"] = links
        if images := _rendered(self._images, violation):
            body["images"] = images
        return _shrunk(body)

    def change(self, routing_key: str, violation: Violation) -> dict[str, Any]:
        """The body of a change event, about an action that was allowed.

        https://developer.pagerduty.com/docs/send-change-event
        """
        payload: dict[str, Any] = {
            "summary": self._field("summary", violation),
            "source": self._field("source", violation),
        }
        moment = normalized(violation.timestamp)
        if moment is not None:
            payload["timestamp"] = moment
        details = {**(_facts(violation) if self._with_details else {}), **self._extra_details(violation)}
        if details:
            payload["custom_details"] = details
        body: dict[str, Any] = {"routing_key": routing_key, "payload": payload}
        if links := _rendered(self._links, violation):
            body["links"] = links
        if images := _rendered(self._images, violation):
            body["images"] = images
        return _shrunk(body)

    def _field(self, name: PayloadField, violation: Violation) -> str:
        """A field of the payload, by its template if it has one that says something for this event.

        PagerDuty rejects an event without a summary or a source, which would be a page that never came.
        """
        limit = SUMMARY_LIMIT if name == "summary" else FIELD_LIMIT
        template = self._fields.get(name)
        if template is not None and (rendered := template.text(violation, limit)).strip():
            return shorten(rendered, limit)
        return shorten(_OWN[name](violation), limit)

    def _extra_details(self, violation: Violation) -> dict[str, str]:
        return {
            name: shorten(template.text(violation, DETAIL_LIMIT), DETAIL_LIMIT)
            for name, template in self._extra.items()
        }


def _summary(violation: Violation) -> str:
    return f"[{one_line(violation.guard)}] {one_line(violation.reason)}"


_OWN: Final[Mapping[PayloadField, Callable[[Violation], str]]] = {
    "summary": _summary,
    "source": lambda violation: f"clawdstrike-{one_line(violation.agent_id)}",
    "component": lambda violation: one_line(violation.guard),
    "group": lambda violation: one_line(violation.tenant_id or "default"),
    "class": lambda violation: one_line(violation.event_type),
}
"""What makes the value of each field that has no template."""


def _rendered(addresses: Sequence[_Address], violation: Violation) -> list[dict[str, str]]:
    return [rendered for address in addresses if (rendered := address.render(violation)) is not None]


def _details(trigger: Trigger) -> dict[str, Any]:
    """``custom_details``: the facts of the event that it has, and the summary of the alert once it has a history."""
    details = _facts(trigger.violation)
    details.update(origin_fields(trigger))
    if trigger.again or trigger.alert_summary.occurrences > 1:
        details.update(summary_fields(trigger.alert_summary))
    return details


def _facts(violation: Violation) -> dict[str, Any]:
    texts = {
        "event_id": violation.event_id,
        "event_type": violation.event_type,
        "session_id": violation.session_id,
        "user_id": violation.user_id,
        "resource_type": violation.resource_type,
        "resource_name": violation.resource_name,
        "resource_path": violation.resource_path,
        "resource_host": violation.resource_host,
        "policy_hash": violation.policy_hash,
        "ruleset": violation.ruleset,
        "runtime_agent_id": violation.runtime_agent_id,
        "runtime_agent_kind": violation.runtime_agent_kind,
    }
    details: dict[str, Any] = {name: one_line(text) for name, text in texts.items() if text is not None}
    details["allowed"] = violation.allowed
    if violation.labels:
        details["labels"] = _labels(violation.labels)
    return details


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of an event, the first `MOST_LABELS` of them; an ellipsis stands for how many are left out."""
    told = {
        shorten(one_line(name), _NAME_LIMIT): shorten(one_line(value), DETAIL_LIMIT)
        for name, value in islice(labels.items(), MOST_LABELS)
    }
    if (left_out := len(labels) - MOST_LABELS) > 0:
        told[ELLIPSIS] = f"{left_out} more"
    return told


def _shrunk(body: dict[str, Any]) -> dict[str, Any]:
    """The body within `REQUEST_LIMIT`: its longest details are cut, each with an ellipsis; where that is not enough,
    images, links, ``client_url`` and labels go, and the detail ``cut`` names them."""
    if len(orjson.dumps(body)) <= REQUEST_LIMIT:  # about 2 µs, cheaper than estimating well
        return body
    payload: dict[str, Any] = body["payload"]
    details: dict[str, Any] = payload.pop("custom_details", {})
    cut: list[str] = []
    for dispensable in ("images", "links", "client_url"):
        if dispensable in body and len(orjson.dumps(body)) > REQUEST_LIMIT // 2:
            del body[dispensable]
            cut.append(dispensable)
    if len(orjson.dumps(details.get("labels"))) > REQUEST_LIMIT // 4:
        del details["labels"]
        cut.append("labels")
    if details:
        if cut:
            details["cut"] = ", ".join(cut)
        fixed = {name: value for name, value in details.items() if not isinstance(value, str)}
        payload["custom_details"] = {**dict.fromkeys(details, ""), **fixed}
        room = REQUEST_LIMIT - len(orjson.dumps(body)) - _ROOM_FOR_CUTS
        names = [name for name in details if name not in fixed]
        texts = fit([details[name] for name in names], room // _MOST_BYTES_OF_A_CHARACTER)
        payload["custom_details"].update(zip(names, texts, strict=True))
    return body
