"""A provider that is no part of the service: what a new one takes. Another distribution would bring it by an entry
point that names `KIND` (`tests.support.distributions` makes one)."""

from providers.provider import ProviderKind
from tests.support.shout.provider import Shout
from tests.support.shout.settings import ShoutSettings

KIND = ProviderKind(ShoutSettings, Shout)
