"""A rollout's change put into one device's desired state: a merge patch (RFC 7396) of what it was last asked for. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

HEADER = frozenset({"device", "revision", "issued_at", "expires_at", "secrets"})
"""Of a document: what each revision has of its own."""
REFERENCES = {"models": "model", "workflows": "workflow"}


def patched(document: Mapping[str, Any] | None, change: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask for: the document's own wish with the change in it.

    A model or workflow that the change only names keeps the other fields it has on this device.
    """
    given = {name: value for name, value in (document or {}).items() if value is not None}
    base = {name: copy.deepcopy(value) for name, value in given.items() if name not in HEADER}
    merged: dict[str, Any] = _merge(base, _spelled(base, change))
    return merged


def former(document: Mapping[str, Any], change: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What to ask for to have this document again after a change.

    Where the change has brought another release of the agent, the one before it is older, and is asked for all the same.
    """
    if not (change or {}).get("agent"):
        return patched(document, {})
    wanted = {name: value for name, value in (document.get("agent") or {}).items() if value}
    again = wanted if wanted.get("digest") else {"installed": True}
    return patched(document, {"agent": {**again, "allow_downgrade": True}})


def _spelled(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    spelled = copy.deepcopy(dict(change))
    if "agent" in spelled:
        spelled["agent"] = _agent(spelled["agent"])
    for section, field in REFERENCES.items():
        entries = spelled.get(section)
        if not isinstance(entries, dict):
            continue
        known = base.get(section, {})
        for name, value in entries.items():
            if isinstance(value, str) and isinstance(known.get(name), dict):
                entries[name] = {field: value, "digest": None, "version": None}
    return spelled


def _agent(wanted: Any) -> Any:
    """Another release takes nothing over from the one before it: neither its digest nor that it may be an older one."""
    if isinstance(wanted, str):
        wanted = {"release": wanted}
    if not isinstance(wanted, dict) or not {"release", "digest", "installed"} & set(wanted):
        return wanted
    return {**dict.fromkeys(("digest", "version", "installed", "allow_downgrade")), **wanted}


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
