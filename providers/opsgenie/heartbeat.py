"""The calls of OpsGenie's heartbeat: https://docs.opsgenie.com/docs/heartbeat-api."""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from providers.opsgenie.settings import AlertSettings
from providers.provider import HeartbeatCalls, Request


def heartbeat_calls(
    settings: AlertSettings, headers: Mapping[str, str], read: Callable[[int, bytes], str]
) -> HeartbeatCalls | None:
    """What the settings ask for; None if the heartbeat is not enabled. ``headers`` carry the key."""
    heartbeat = settings.heartbeat
    if not heartbeat.enabled:
        return None
    address = f"{settings.api_endpoint.rstrip('/')}/v2/heartbeats/{quote(heartbeat.name, safe='')}"
    return HeartbeatCalls(
        heartbeat.name,
        heartbeat.interval_minutes * 60,
        ping=Request("GET", f"{address}/ping", headers),
        ping_status=202,
        exists=Request("GET", address, headers),
        exists_status=200,
        read=read,
    )
