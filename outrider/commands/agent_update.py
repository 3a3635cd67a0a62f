"""`outrider agent update …`, `quarantine …` and `bundle`: what the people at a device may do about its updates."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any


def configure(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands; their parsers."""
    update = commands.add_parser("update", help="cancel an update, or hold updates back for a while")
    update.add_argument("do", choices=("cancel", "lock", "unlock", "locked"))
    update.add_argument("--revision", type=int, help="cancel only this revision")
    update.add_argument("--holder", default="operator", help="who holds the lock")
    update.add_argument("--seconds", type=float, default=300.0, help="for how long; again to keep it")
    quarantine = commands.add_parser(
        "quarantine", help="what this device does not take because it rolled back"
    )
    quarantine.add_argument("do", choices=("list", "clear"))
    quarantine.add_argument("digest", nargs="*", help="its beginning will do; none clears all")
    quarantine.add_argument("--json", action="store_true")
    bundle = commands.add_parser("bundle", help="what happened on this device, packed without secrets")
    bundle.add_argument("file", type=Path, help="the .tar.gz to write")
    return [update, quarantine, bundle]


def update(config: Any, arguments: argparse.Namespace) -> int:
    """:returns: 0, or 1 where the agent refuses"""
    params = {"holder": arguments.holder}
    if arguments.do == "cancel":
        asked = {"revision": str(arguments.revision)} if arguments.revision else {}
        answer = _ask(config, "DELETE", "/update", params=asked)
        print(f"revision {answer['revision']} is cancelled")
    elif arguments.do == "lock":
        body = {**params, "seconds": arguments.seconds}
        print(f"updates wait for {_ask(config, 'PUT', '/update/lock', json=body)['left_s']:.0f} s")
    elif arguments.do == "unlock":
        held = _ask(config, "DELETE", "/update/lock", params=params)["held"]
        print("updates go on" if held else f"{arguments.holder} does not hold the lock")
    else:
        lock = _ask(config, "GET", "/update/lock")
        print(f"{lock['holder']} holds updates back for {lock['left_s']:.0f} s" if lock["holder"] else "free")
    return 0


def quarantine(config: Any, arguments: argparse.Namespace) -> int:
    """:returns: 0, or 1 where a digest is not in quarantine"""
    if arguments.do == "list":
        held = _ask(config, "GET", "/update/quarantine")
        if arguments.json:
            print(json.dumps(held))
            return 0
        for entry in held:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["at_wall"]))
            print(
                f"{entry['digest'][7:19]}  revision {entry['revision']}  {when}  {entry['reason']}: {entry['message']}"
            )
        return 0
    cleared = _ask(config, "DELETE", "/update/quarantine", params={"digest": arguments.digest})["cleared"]
    print(
        "\n".join(cleared) if cleared else "nothing was cleared", file=sys.stdout if cleared else sys.stderr
    )
    return 0 if cleared or not arguments.digest else 1


def bundle(config: Any, arguments: argparse.Namespace) -> int:
    """Write it, from what is on disk and what a running agent says. :returns: 0"""
    from agent.evidence import on_disk, packed

    parts = on_disk(config.state_dir)
    try:
        parts["status.json"] = _ask(config, "GET", "/status")
        parts["recorder.json"] = _ask(config, "GET", "/recorder")
    except OSError as e:
        parts["status.json"] = {"failed": str(e)}
    arguments.file.write_bytes(packed(parts, _secrets(config), time.time()))
    print(f"{arguments.file}: {arguments.file.stat().st_size} bytes, {', '.join(sorted(parts))}")
    return 0


def _secrets(config: Any) -> list[str]:
    """Texts that must not leave: the device's own, as far as whoever asks may read them."""
    from agent import identity, proxy
    from agent.errors import AgentError

    found: list[str] = []
    try:
        if (who := identity.load(config.state_dir)) is not None:
            found += [who.api_token, who.broker.password]
        if (site := proxy.parse(config.network.proxy)) is not None:
            found.append(site.password)
    except AgentError as e:
        print(f"outrider agent: {e}", file=sys.stderr)
    for folder in (config.state_dir / "secrets", config.run_dir / "fleet-secrets"):
        try:
            found += [path.read_text(errors="replace").strip() for path in folder.glob("*") if path.is_file()]
        except OSError as e:
            print(f"outrider agent: {folder} cannot be read: {e}", file=sys.stderr)
    return found


def _ask(config: Any, method: str, path: str, **parts: Any) -> Any:
    """:raises OSError: no agent answers, or it refuses, with its words"""
    import httpx

    from agent.daemon import PORT_FILE

    port_file = config.run_dir / PORT_FILE
    port = port_file.read_text().strip() if port_file.exists() else config.http_port
    url = f"http://{config.http_host}:{port}{path}"
    try:
        answer = httpx.request(method, url, timeout=10.0, trust_env=False, **parts)
        body = answer.json()
    except (httpx.HTTPError, ValueError) as e:
        raise OSError(f"no agent answers at {url}: {e}") from e
    if answer.is_error:
        raise OSError(f"{body.get('reason')}: {body.get('detail')}")
    return body
