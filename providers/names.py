"""What a pipeline may be called: its name is part of topics, groups, transactional ids and metrics."""

import re
from collections.abc import Collection
from typing import Final

LONGEST_NAME: Final = 48
"""The most characters of a pipeline's name. Kafka's names have at most 249, of which the prefixes are the user's."""

STAGE_SUFFIX: Final = "-repartition"
"""The end of the name of a repartition stage's group, behind the pipeline's name."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", re.ASCII)


def check_name(name: str, taken: Collection[str] = ()) -> str:
    """A name that a pipeline can have, as it is; ``taken`` are those of others.

    A point is not allowed in it: ``a.positions`` would be the topic of another pipeline's stage.

    Raises `ValueError` if it is no such name, or is one of another pipeline, or of its stage.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"must be part of the names of topics: letters and digits, with '-' and '_' between them, at most "
            f"{LONGEST_NAME}"
        )
    if name in taken:
        raise ValueError("is the name of another provider")
    if name.endswith(STAGE_SUFFIX):
        raise ValueError(f"must not end in {STAGE_SUFFIX}: that is how the group of a repartition stage ends")
    return name
