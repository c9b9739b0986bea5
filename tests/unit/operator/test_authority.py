"""The certificate authority by a clock that the test moves, and its Secret."""

import base64
import datetime
from collections.abc import Iterable

import pytest
from cryptography import x509

from switchboard_kube import SECRETS
from switchboard_kube.testing import FakeKube
from switchboard_operator.authority import (
    AUTHORITY_LIFETIME,
    BUNDLE,
    KEYS,
    SETTLED,
    Authority,
    bundle_of,
    choose_signer,
    issue,
    make_authority,
    read_authorities,
    renew,
    write_authorities,
)
from switchboard_operator.authority_keeping import SECRET, AuthorityKeeper, Keeping

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
NAME = "switchboard-metrics.system.svc"
HALF = AUTHORITY_LIFETIME / 2 + datetime.timedelta(days=1)


def signed_by(certificate: bytes, authorities: Iterable[Authority]) -> list[bool]:
    """Of each authority whether it has signed this."""
    leaf, found = x509.load_pem_x509_certificate(certificate), []
    for authority in authorities:
        try:
            leaf.verify_directly_issued_by(authority.certificate)
        except Exception:  # noqa: BLE001 - the library raises several kinds
            found.append(False)
        else:
            found.append(True)
    return found


def test_what_it_signs_is_for_the_names_asked_and_ends_within_a_day() -> None:
    authority = make_authority(NOW)
    pair = issue(authority, [NAME, "other.system.svc"], NOW)
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME, "other.system.svc"]
    assert leaf.not_valid_before_utc < NOW < pair.renew_at < leaf.not_valid_after_utc <= NOW + datetime.timedelta(1)
    assert signed_by(pair.certificate, [authority, make_authority(NOW)]) == [True, False]


def test_authorities_survive_their_secret() -> None:
    authorities = (make_authority(NOW), make_authority(NOW))
    again = read_authorities(write_authorities(authorities))
    assert bundle_of(again) == bundle_of(authorities)
    assert signed_by(issue(again[1], [NAME], NOW).certificate, authorities) == [False, True]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({BUNDLE: base64.b64encode(b"x").decode(), KEYS: ""}, id="no certificate"),
        pytest.param(
            {**write_authorities([make_authority(NOW)]), KEYS: write_authorities([make_authority(NOW)])[KEYS]},
            id="the key of another",
        ),
        pytest.param(
            {
                **write_authorities([make_authority(NOW)]),
                KEYS: write_authorities([make_authority(NOW), make_authority(NOW)])[KEYS],
            },
            id="more keys than certificates",
        ),
    ],
)
def test_a_secret_of_somebody_elses_making_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        read_authorities(data)


def test_a_successor_signs_only_when_everybody_has_had_the_time_to_learn_of_it() -> None:
    first = renew((), NOW)
    assert choose_signer(first, NOW) is first[0], "there is no other"
    assert renew(first, NOW + AUTHORITY_LIFETIME / 3) == first
    later = NOW + HALF
    both = renew(first, later)
    assert both[1] is first[0]
    assert choose_signer(both, later) is first[0]
    assert choose_signer(both, later + SETTLED) is both[0]
    third = renew(both, later + HALF)
    assert third[1] is both[0], "the oldest is forgotten"


def keeper(kube: FakeKube, told: list[bytes], *, leads: bool) -> AuthorityKeeper:
    made = AuthorityKeeper(Keeping(kube, "system", lambda: leads))
    made.changed.append(lambda: told.append(made.bundle))
    return made


async def test_the_leader_makes_the_secret_and_followers_read_it() -> None:
    kube, led, followed = FakeKube(), [], []  # type: FakeKube, list[bytes], list[bytes]
    follower, leader = keeper(kube, followed, leads=False), keeper(kube, led, leads=True)
    await follower.refresh(NOW)
    assert (followed, kube.writes) == ([], [])
    await leader.refresh(NOW)
    await follower.refresh(NOW)
    await follower.refresh(NOW)
    assert led == followed
    assert kube.writes == [("create", "Secret", SECRET)]
    await leader.refresh(NOW + HALF)
    assert len(x509.load_pem_x509_certificates(led[-1])) == 2
    assert len(kube.writes) == 2


async def test_a_leader_that_was_not_the_first_takes_what_the_first_has_made() -> None:
    kube, told = FakeKube(), []  # type: FakeKube, list[bytes]
    await keeper(kube, [], leads=True).refresh(NOW)
    slow = keeper(kube, told, leads=True)
    kube.objects, stored = {}, kube.objects
    create = kube.create

    async def late(*arguments: object) -> object:
        kube.objects = stored
        return await create(*arguments)  # type: ignore[arg-type]

    kube.create = late  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="faster"):
        await slow.refresh(NOW)
    await slow.refresh(NOW)
    assert told == [bundle_of(read_authorities(stored[SECRETS, "system", SECRET]["data"]))]


async def test_a_secret_that_cannot_be_read_is_told_with_its_remedy() -> None:
    kube = FakeKube((SECRETS, {"metadata": {"name": SECRET, "namespace": "system"}, "data": {}}))
    with pytest.raises(ValueError, match="delete it"):
        await keeper(kube, [], leads=True).refresh(NOW)
    assert kube.writes == []
