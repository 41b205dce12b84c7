"""What an account finds: what must not be, and what is excused."""

from dataclasses import dataclass

LANDED_LATE = "a request that had timed out landed late"
UNHEARD = "a person closed it, and the webhook was lost"
LANDED_UNSEEN = "a trigger of a member that died landed, and was rejected when repeated"
SHARED_ID = "two members had one group_instance_id"
END_REJECTED = "the request that ends it is rejected for ever"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, or (`cause` given) what is excused: the two exceptions of design section 5.3, an
    incident that nobody here could know of, and one whose end is rejected for ever. (Poison has no dedup key.)"""

    kind: str
    provider: str
    dedup_key: str
    text: str
    cause: str | None = None

    def __str__(self) -> str:
        cause = f" [{self.cause}]" if self.cause is not None else ""
        return f"{self.kind}: {self.provider} {self.dedup_key}: {self.text}{cause}"
