"""When a server counts as well, look by look."""

import pytest

from switchboard_sidecar.http_health import Health, Look

WELL, SICK, GONE = Look(), Look("GET /healthz on port 1 answered 500"), Look("nothing answers on port 1", is_gone=True)


@pytest.mark.parametrize(
    ("looks", "changes"),
    [
        pytest.param([WELL], [True], id="it is well at the first good look"),
        pytest.param([WELL, WELL], [True, False], id="staying well is no news"),
        pytest.param([WELL, SICK, SICK, WELL], [True, False, False, False], id="two bad looks are forgiven"),
        pytest.param([WELL, SICK, SICK, SICK], [True, False, False, True], id="three in a row are not"),
        pytest.param([WELL, SICK, SICK, WELL, SICK], [True] + [False] * 4, id="the count begins anew"),
        pytest.param([WELL, GONE], [True, True], id="a port that refuses is believed at once"),
        pytest.param([SICK, WELL], [True, True], id="one that was never well is told why"),
        pytest.param([GONE, SICK, SICK], [True, True, False], id="another reason is told"),
    ],
)
def test_a_server_is_well_or_not(looks: list[Look], changes: list[bool]) -> None:
    health = Health()
    assert [health.take(look) for look in looks] == changes


def test_the_fault_is_that_of_the_look() -> None:
    health = Health()
    health.take(GONE)
    assert health.fault == GONE.fault
    health.take(WELL)
    assert health.fault == ""
