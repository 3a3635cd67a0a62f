"""SIGHUP: the configuration read again. What can change while cameras go on does; for the rest a restart is named."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from agent import logs
from agent.config import Config
from agent.errors import ConfigRefused

log = logging.getLogger(__name__)

LIVE = frozenset({"log_level", "log_format"})
"""Fields that change without a restart."""


def differences(old: Config, new: Config) -> list[str]:
    """The names of the fields that differ; limits as `limits.<name>`."""
    names = [f.name for f in dataclasses.fields(Config) if f.name != "limits"]
    found = [name for name in names if getattr(old, name) != getattr(new, name)]
    limits = [f.name for f in dataclasses.fields(old.limits)]
    found += [f"limits.{name}" for name in limits if getattr(old.limits, name) != getattr(new.limits, name)]
    return found


def reload(old: Config, read: Callable[[], Config]) -> Config:
    """Read the file and take over what can be. The configuration that holds from here on; a bad file changes nothing."""
    try:
        new = read()
    except (ConfigRefused, OSError) as e:
        log.error("the configuration is not reloaded; the old one goes on", extra={"cause": str(e)})
        return old
    changed = differences(old, new)
    logs.set_up(new.log_format, new.log_level)
    held = [name for name in changed if name not in LIVE]
    if held:
        log.warning("changed, and needs a restart of the agent", extra={"fields": ", ".join(held)})
    log.info(
        "configuration reloaded", extra={"changed": ", ".join(n for n in changed if n in LIVE) or "nothing"}
    )
    return dataclasses.replace(old, log_format=new.log_format, log_level=new.log_level)
