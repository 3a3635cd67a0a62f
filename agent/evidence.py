"""What a device shows of itself to whoever has to find out what is wrong: documents without secrets, and the one way they are packed.

`outrider agent bundle` packs what is on disk, and what a running agent says; the command `diagnostics` packs the same with the agent's own figures.
"""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.update.recorder import entries
from wire.redact import redact

MASK = "***"
LEAST_CHARS = 4
"""A shorter password stands in every other word; it is masked in its own field alone."""
SECRET_WORDS = ("password", "token", "secret", "key", "sealed")
JOURNAL = ("revisions", "committed", "quarantine")


def packed(parts: Mapping[str, Any], secrets: Iterable[str], at_wall: float) -> bytes:
    """The documents as a `.tar.gz`; text as it is, all else as JSON. `secrets` are texts that must not leave whatever they stand in."""
    out = io.BytesIO()
    hidden = list(secrets)
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, part in sorted(parts.items()):
            text = part if isinstance(part, str) else json.dumps(masked(part), indent=1, default=str)
            content = cleaned(text, hidden).encode()
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), int(at_wall)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def cleaned(text: str, secrets: Iterable[str]) -> str:
    """The text without passwords in addresses, and without these."""
    text = redact(text)
    for secret in secrets:
        if len(secret) >= LEAST_CHARS:
            text = text.replace(secret, MASK)
    return text


def masked(document: Any, secret: bool = False) -> Any:
    """The document without the values below fields whose names speak of secrets."""
    if isinstance(document, Mapping):
        return {
            key: masked(value, secret or any(word in str(key).lower() for word in SECRET_WORDS))
            for key, value in document.items()
        }
    if isinstance(document, (list, tuple)):
        return [masked(value, secret) for value in document]
    return MASK if secret and document and not isinstance(document, bool) else document


def on_disk(state_dir: Path) -> dict[str, Any]:
    """The flight recorder, and the journal with the document that runs; also where no agent does."""
    return {"recorder.json": list(entries(state_dir / "recorder")), "updates.json": _updates(state_dir)}


def _updates(state_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        db = sqlite3.connect(f"file:{state_dir / 'journal.db'}?mode=ro", uri=True, timeout=5.0)
        try:
            db.row_factory = sqlite3.Row
            for table in JOURNAL:
                found[table] = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]
        finally:
            db.close()
        found["current"] = json.loads((state_dir / "current").read_bytes())
    except (OSError, ValueError, sqlite3.Error) as e:
        found["failed"] = f"{type(e).__name__}: {e}"
    return found
