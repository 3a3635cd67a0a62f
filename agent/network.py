"""The HTTPS side of an agent, made and wired: who the device is to others, what it downloads with, whom it asks about trust."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass

import httpx

from agent.backoff import Backoff
from agent.clock import Clock
from agent.config import Config
from agent.download import Downloader, HttpMetadata
from agent.identity import Identity
from agent.keys import FileKeys, Keys
from agent.metadata import Metadata
from agent.pace import Speed
from agent.reach import Reaching
from agent.renewal import Renewal
from agent.tls import SignedTokens, Trust, add_authorities
from agent.vouch import Vouch

ANSWERS = "/api/v1/health"


@dataclass(frozen=True)
class Network:
    """`elsewhere` is for servers that are to learn nothing of the device."""

    keys: Keys
    trust: Trust
    reaching: Reaching
    client: httpx.AsyncClient
    elsewhere: httpx.AsyncClient
    renewal: Renewal
    downloader: Downloader
    vouch: Vouch
    url: str

    async def answers(self) -> bool:
        """Whether the control plane answers over HTTPS now."""
        try:
            answer = await self.client.get(f"{self.url}{ANSWERS}")
        except httpx.HTTPError:
            return False
        return answer.status_code < 500


def network(config: Config, identity: Identity, clock: Clock) -> Network:
    """:raises AgentError, OSError: keys or authorities cannot be used"""
    limits = config.limits
    keys = FileKeys(config.state_dir)
    site = config.network
    reaching = Reaching(identity, site)
    trust = Trust(identity.authority, keys, clock, public=identity.public_authorities, ca_file=site.ca_file)
    stores = ssl.create_default_context()
    add_authorities(stores, site.ca_file)
    tokens = None if identity.api_token else SignedTokens(identity.device, keys, clock)
    client = reaching.client(trust.context, limits.connect_s, tokens)
    elsewhere = reaching.client(stores, limits.connect_s)
    renewal = Renewal(client, identity.url, keys, clock, trust.refresh, limits.renewal_check_s)
    downloader = Downloader(
        client,
        identity.url,
        identity.api_token,
        lambda: Backoff(1.0, 60.0, random.random),
        keep_free_bytes=limits.free_space_bytes,
        elsewhere=elsewhere,
        speed=Speed(limits.fetch_max_bytes_s, limits.fetch_min_bytes_s, limits.fetch_slow_s),
    )
    vouch = Vouch(
        Metadata(config.state_dir, identity.root.encode(), clock) if identity.root else None,
        HttpMetadata(client, identity.url, identity.api_token),
        identity.state_keys,
        clock,
        lambda: Backoff(1.0, 60.0, random.random),
        refresh_s=limits.trust_refresh_s,
    )
    return Network(
        keys, trust, reaching, client, elsewhere, renewal, downloader, vouch, identity.url.rstrip("/")
    )
