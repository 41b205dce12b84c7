"""Which topics exist, and how the broker describes their partitions."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient


async def topics_there(admin: AIOKafkaAdminClient) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The partitions of every topic that this user may see, by the topic's name. Raises `KafkaError` if Kafka does not
    answer as it should.

    All topics are listed, because a request that names a topic can create it (``auto.create.topics.enable``).
    """
    return {described["topic"]: described["partitions"] for described in await admin.describe_topics()}
