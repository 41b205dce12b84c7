"""Which severity an event has (design section 19). Pure."""

from collections.abc import Mapping
from typing import Protocol

from state.violation import SEVERITY_BY_WORD, Severity


class Decided(Protocol):
    """The part of a decision that says how bad it is."""

    @property
    def allowed(self) -> bool: ...
    @property
    def severity(self) -> str: ...


class Severities:
    """What a word counts as. The engine gives a denial ``info`` where its audit had no severity: ``denied_info`` is
    what that counts as (None: as it says)."""

    def __init__(self, denied_info: Severity | None = None) -> None:
        self.of_denials: Mapping[str, Severity] = SEVERITY_BY_WORD
        if denied_info is not None:
            self.of_denials = {**SEVERITY_BY_WORD, Severity.INFO.label: denied_info}

    def of(self, decision: Decided) -> Severity:
        """The severity of a valid event. Raises `KeyError` for a word that is not known."""
        return (SEVERITY_BY_WORD if decision.allowed else self.of_denials)[decision.severity]


AS_SAID = Severities()
"""Each word as it says."""
