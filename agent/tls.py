"""Whom this device believes in TLS, and how it shows who it is: one context for HTTPS and MQTT.

Chain, host name and the pinned authority are always checked. Times of certificates are judged only by a clock that is known to
be right: a device whose battery-less clock says 1970 could never connect otherwise, and time servers are reached later
than the broker. So an expired certificate of the control plane passes until the clock is synchronised, nothing else.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from email.utils import parsedate_to_datetime

import httpx

from agent.clock import Clock
from agent.errors import ConfigRefused
from agent.keys import Keys
from wire.reasons import Reason

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it."""


class Trust:
    """`context` is used for every connection of the device; `refresh` before each new one."""

    def __init__(
        self, authority: str, keys: Keys, clock: Clock, *, public: bool = False, ca_file: str = ""
    ) -> None:
        """`authority` is PEM, empty where there is none; `public` lets the system's authorities vouch besides, `ca_file` those of a file.

        :raises ConfigRefused: the file cannot be used
        """
        if authority:
            self.context = ssl.create_default_context(cadata=authority)
            if public:
                self.context.load_default_certs()
        else:
            self.context = ssl.create_default_context()
        add_authorities(self.context, ca_file)
        self._keys = keys
        self._clock = clock
        self._flags = int(self.context.verify_flags)
        self.refresh()

    def refresh(self) -> None:
        """Take over a renewed certificate, and judge times if the clock has become right.

        :raises ConfigRefused: the device's certificate cannot be used
        """
        unjudged = 0 if self._clock.synced() else NO_CHECK_TIME
        self.context.verify_flags = ssl.VerifyFlags(self._flags | unjudged)
        self._keys.load_into(self.context)


def add_authorities(context: ssl.SSLContext, ca_file: str) -> None:
    """Trust the authorities of a PEM file besides.

    :raises ConfigRefused: it cannot be used
    """
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as e:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f"network.ca_file {ca_file} cannot be used ({e}); expected a PEM file"
        ) from e


class SignedTokens(httpx.Auth):
    """Shows a short-lived token with each request. A device whose clock is wrong is told the time by the answer, once."""

    def __init__(self, device: str, keys: Keys, clock: Clock) -> None:
        self._device = device
        self._keys = keys
        self._clock = clock
        self._ahead_s = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header()
        answer = yield request
        if answer.status_code == 401 and self._set_time(answer):
            request.headers["Authorization"] = self._header()
            yield request

    def _header(self) -> str:
        return "Bearer " + self._keys.token(self._device, self._clock.wall() + self._ahead_s)

    def _set_time(self, answer: httpx.Response) -> bool:
        """Whether the control plane's time differs enough to have been the cause."""
        try:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return False
        before, self._ahead_s = self._ahead_s, theirs - self._clock.wall()
        return abs(self._ahead_s - before) > 60.0
