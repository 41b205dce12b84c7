"""Removing consumer groups that nobody needs any more (Kafka's DeleteGroups, which aiokafka's admin client lacks)."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupIdNotFound,
    KafkaError,
    NonEmptyGroup,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from consumer.kafka.group_members import COORDINATOR_ERRORS
from providers.errors import text_of

AGAIN_SECONDS = 0.2

_NOT_FOUND = GroupIdNotFound.errno
_FOR_A_MOMENT = frozenset(error.errno for error in (*COORDINATOR_ERRORS, NonEmptyGroup))
"""Errors that pass: the group has no coordinator yet, or a member has neither left nor timed out."""

NOT_ALLOWED = "this user may not delete it"

_SAYS: Mapping[int, str] = {
    NonEmptyGroup.errno: "it still has members",
    GroupAuthorizationFailedError.errno: NOT_ALLOWED,
}


async def delete_groups(admin: AIOKafkaAdminClient, groups: Iterable[str], seconds: float) -> Mapping[str, str]:
    """Delete these groups, within ``seconds`` in all. Returns the reason for each group that is still there.

    A group that does not exist counts as deleted. Raises nothing but cancellation.
    """
    left = dict.fromkeys(groups, "no answer in time")
    try:
        async with asyncio.timeout(seconds):
            for group in list(left):
                if (reason := await _delete(admin, group, left)) is None:
                    del left[group]
                else:
                    left[group] = reason
    except TimeoutError:
        pass  # the last reason of each group is in ``left``
    return left


async def _delete(admin: AIOKafkaAdminClient, group: str, left: dict[str, str]) -> str | None:
    """Delete a group. Returns why that is not possible, None if it is gone; ``left`` has the reason of each retry."""
    while True:
        try:
            code = await _code(admin, group)
        except (KafkaError, OSError) as error:
            return text_of(error)
        if code in (0, _NOT_FOUND):
            return None
        unknown: Any = for_code(code)
        reason = _SAYS.get(code) or str(unknown.__name__)
        if code not in _FOR_A_MOMENT:
            return reason
        left[group] = reason
        await asyncio.sleep(AGAIN_SECONDS)


async def _code(admin: AIOKafkaAdminClient, group: str) -> int:
    coordinator = await admin.find_coordinator(group)
    response = await admin._send_request(DeleteGroupsRequest([group]), coordinator)
    ((_, code),) = response.results
    return int(code)
