"""What the state keeps of the last attempt of what is owed: short, and without any secret."""

import pytest

from providers.answer import RouteRefused, Unavailable
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from state.alert import LONGEST_ERROR
from state.records import decode_alert
from tests.support.delivery_setting import Setting

KEY = b"forbidden_path:s1"
SECRET = "R0UT1NGK3Y" * 3 + "xy"


def written(setting: Setting) -> bytes:
    """The alert's record, once an attempt has failed."""
    setting.occur("s1")
    setting.run(6.0)
    return setting.partitions[0].kafka.state[KEY] or b""


@pytest.mark.parametrize("padding", [0, LONGEST_ERROR - 8, LONGEST_ERROR - len(SECRET) + 2, 600])
def test_no_secret_and_no_half_of_one_gets_into_the_state(padding: int) -> None:
    provider = PagerDuty(PagerDutySettings.model_validate({"routing_key": SECRET}), now=lambda: 0.0)
    body = b'{"message": "%s %s is not known"}' % (b"x" * padding, SECRET.encode())
    value = written(Setting(lambda call: provider.classify(503, {}, body)))
    owed = decode_alert(KEY, value).owed
    assert owed is not None
    assert owed.last_status == 503
    assert len(owed.last_error or "") <= LONGEST_ERROR
    assert padding or (owed.last_error or "").strip() == "[secret] is not known"
    assert SECRET[:6].encode() not in value


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (Unavailable(503, "down"), 503, "down"),
        (
            Unavailable(None, "no answer from the host within 30 s", unknown=True),
            None,
            "no answer from the host within 30 s",
        ),
        (RouteRefused(401, "Invalid key"), 401, "Invalid key"),
    ],
)
def test_the_status_and_the_text_of_the_last_attempt_are_kept(
    answer: Unavailable | RouteRefused, status: int | None, error: str
) -> None:
    setting = Setting(lambda call: answer)
    for _ in range(2):
        owed = decode_alert(KEY, written(setting)).owed
        assert owed is not None
        assert (owed.last_status, owed.last_error, owed.guard) == (status, error, "forbidden_path")
        setting.restart()
