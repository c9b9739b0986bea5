"""What this replica serves its Registry with, and what pods are to trust: of its own authority, or of a mounted Secret.

The leader keeps the gateways' certificate too. Nothing is written here that another source keeps, as cert-manager does.
"""

import asyncio
import contextlib
import datetime
import logging
import random
from collections.abc import Callable
from typing import Final, Protocol

from switchboard_identity.serving import Certificate, CertificateFolder
from switchboard_kube import SECRETS, ApiError, Json, NotFound
from switchboard_operator import metrics
from switchboard_operator.authority import Authority, KeyPair, issue
from switchboard_operator.authority_keeping import AuthorityKeeper
from switchboard_operator.certificates import (
    GATEWAY_SECRET,
    gateway_names,
    is_due,
    operator_names,
    write_certificate,
)
from switchboard_operator.settings import Settings
from switchboard_wire import names

log = logging.getLogger(__name__)

# Well below half of a certificate's life; and one that begins is not held up for long
LOOK_S: Final = 15.0
BEGIN_S: Final = 1.0


class Trust(Protocol):
    """TLS of one replica."""

    @property
    def bundle(self) -> str | None:
        """The certificates to trust, as PEM; None until they are known, empty when nothing is TLS."""
        ...

    def read(self) -> Certificate:
        """What to serve with. Raises OSError when there is nothing yet."""
        ...

    async def run(self, rng: random.Random) -> None:
        """Keep both fresh, for ever."""
        ...

    async def refresh(self) -> None:
        """Look at once. Raises ApiError, ValueError, OSError."""
        ...


class NoTrust:
    """Everything is plain text."""

    bundle: str | None = ""

    def read(self) -> Certificate:
        raise OSError("no TLS")

    async def run(self, rng: random.Random) -> None:
        """Nothing to do."""

    async def refresh(self) -> None:
        """Nothing to do."""


class FolderTrust:
    """A mounted Secret, kept by others. changed: called when the bundle is another."""

    def __init__(self, folder: CertificateFolder, changed: Callable[[], None]) -> None:
        self._folder, self._changed = folder, changed
        self.bundle: str | None = None

    def read(self) -> Certificate:
        return self._folder.read()

    async def run(self, rng: random.Random) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep((LOOK_S if self.bundle else BEGIN_S) * rng.uniform(0.8, 1.2))

    async def refresh(self) -> None:
        bundle = self._folder.bundle().decode("ascii", "replace")
        if bundle and bundle != self.bundle:
            self.bundle = bundle
            self._changed()


class OwnTrust:
    """The operator's own authority. changed: called when the bundle is another."""

    def __init__(self, keeper: AuthorityKeeper, changed: Callable[[], None]) -> None:
        self._keeper = keeper
        self._pair: KeyPair | None = None
        self._signer: Authority | None = None
        self._held: Certificate | None = None
        self._looking = asyncio.Lock()  # of two looks at once, one would find the other's writes
        self._news = asyncio.Event()
        keeper.changed += [changed, self._news.set]

    @property
    def bundle(self) -> str | None:
        return self._keeper.bundle.decode("ascii") or None

    def read(self) -> Certificate:
        if self._held is None:
            raise OSError("the certificate authority is not there yet")
        return self._held

    async def run(self, rng: random.Random) -> None:
        """Sign what is due, for ever; somebody else runs the keeper."""
        while True:
            self._news.clear()
            try:
                async with self._looking:
                    await self._look()
            except (ApiError, ValueError) as error:
                log.warning("certificates cannot be read or written: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((LOOK_S if self._held is not None else BEGIN_S) * rng.uniform(0.8, 1.2)):
                    await self._news.wait()

    async def refresh(self) -> None:
        await self._keeper.refresh(datetime.datetime.now(datetime.UTC))
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        now, keeping = datetime.datetime.now(datetime.UTC), self._keeper.keeping
        signer = self._keeper.choose_signer(now)
        if signer is None:
            return
        if self._pair is None or now >= self._pair.renew_at or signer != self._signer:
            self._pair, self._signer = issue(signer, operator_names(keeping.namespace), now), signer
            self._held = Certificate(self._pair.certificate, self._pair.key)
        if keeping.leads():
            await self._keep_gateways(signer, now)

    async def _keep_gateways(self, signer: Authority, now: datetime.datetime) -> None:
        keeping, bundle = self._keeper.keeping, self._keeper.bundle
        held: Json | None
        try:
            held = await keeping.kube.get(SECRETS, GATEWAY_SECRET, keeping.namespace)
        except NotFound:
            held = None
        if held is not None and not is_due(held.get("data") or {}, signer, bundle, now):
            return
        data = write_certificate(issue(signer, gateway_names(keeping.namespace), now), bundle)
        if held is not None:
            await keeping.kube.update(SECRETS, held | {"data": data})
        else:
            labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY}
            metadata = {"name": GATEWAY_SECRET, "namespace": keeping.namespace, "labels": labels}
            await keeping.kube.create(SECRETS, {"metadata": metadata, "type": "kubernetes.io/tls", "data": data})
        metrics.WRITES.labels("apply", SECRETS.kind).inc()
        log.info("signed the gateways' certificate", extra={"secret": GATEWAY_SECRET})


def build_trust(settings: Settings, keeper: AuthorityKeeper, changed: Callable[[], None]) -> Trust:
    """TLS as the settings ask for it. keeper: of the own authority, where it is wanted."""
    if settings.own_ca:
        return OwnTrust(keeper, changed)
    folder = settings.trust.tls_folder
    return FolderTrust(CertificateFolder(folder), changed) if folder is not None else NoTrust()
