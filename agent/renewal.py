"""Renews the device's certificate when two thirds of its life are over. The one before stays good until its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx

from agent.clock import Clock
from agent.errors import AgentError, Transient
from agent.keys import Keys
from wire.doc import read
from wire.enrol import CertificateRequest, CertificateResponse
from wire.errors import Refused
from wire.reasons import Reason

log = logging.getLogger(__name__)

RENEW_AT = 2 / 3
CHECK_S = 3600.0
DEADLINE_S = 30.0


def due_wall(chain: bytes) -> tuple[float, float]:
    """When the certificate begins, and when it is to be renewed, in wall-clock seconds."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificates(chain)[0]
    begin = certificate.not_valid_before_utc.timestamp()
    return begin, begin + RENEW_AT * (certificate.not_valid_after_utc.timestamp() - begin)


class Renewal:
    """`run` looks once an hour, or `check_s`, until cancelled."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        keys: Keys,
        clock: Clock,
        renewed: Callable[[], None],
        check_s: float = CHECK_S,
    ) -> None:
        self._client = client
        self._url = url
        self._keys = keys
        self._clock = clock
        self._renewed = renewed
        self._check_s = check_s

    async def run(self) -> None:
        while True:
            try:
                if self._due() and await self.renew():
                    log.info("certificate renewed")
            except (AgentError, OSError, httpx.HTTPError, ValueError, Refused) as e:
                log.warning("the certificate is not renewed yet", extra={"cause": str(e) or type(e).__name__})
            await asyncio.sleep(self._check_s)

    def _due(self) -> bool:
        """A clock that is before the certificate's own beginning is wrong and decides nothing."""
        chain = self._keys.certificate()
        if chain is None:
            return False
        begin, due = due_wall(chain)
        return self._clock.wall() >= max(begin, due)

    async def renew(self) -> bool:
        """Ask for another certificate and put it to use; new connections show it.

        :raises Transient: the control plane says no just now
        """
        body = CertificateRequest(csr=self._keys.request()).to_json()
        answer = await self._client.post(
            f"{self._url}/api/v1/device/certificate", json=body, timeout=DEADLINE_S
        )
        if answer.status_code != 201:
            raise Transient(
                Reason.CERTIFICATE_INVALID,
                f"the control plane answered {answer.status_code}: {answer.text[:200]}",
            )
        self._keys.install(read(CertificateResponse, answer.json()).certificate)
        self._renewed()
        return True
