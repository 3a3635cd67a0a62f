"""`python -m agent.update STATE_DIR SOURCE [REVISION.json …]`: update a tree of plain files, or finish what was cut.

`SOURCE` holds the artifacts, each under the 64 digits of its digest. Prints how each revision ended, a JSON line each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from agent.files import DISK, Disk
from agent.update.executor import Executor
from agent.update.journal import Connect, Document, Journal, Outcome, connect
from agent.update.tree import PlainTime, TreeGround

T = TypeVar("T")


def update(
    state_dir: Path, source: Path, offers: list[Path], *, disk: Disk = DISK, connect: Connect = connect
) -> list[Outcome]:
    """Finish what was cut, then take each offered revision that is above the highest to its end.

    :raises OSError: the state directory cannot be used
    """
    journal = Journal(state_dir, disk, connect=connect)
    try:
        ground = TreeGround(state_dir, source, journal, disk)
        executor = Executor(journal, ground, PlainTime())
        ended = []
        found = executor.recover(gone_back=ground.slots.went_back())
        ground.slots.sweep()
        ground.slots.forget_went_back()
        ground.slots.tidy(journal.phase)
        if found is not None and (document := journal.document(found.revision)) is not None:
            ended.append(run(executor.carry(document)))
        run(executor.clear())
        for path in offers:
            body = path.read_bytes()
            document = Document(int(json.loads(body)["revision"]), body)
            if document.revision > journal.highest():
                journal.accept(document, PlainTime().wall())
                ended.append(run(executor.carry(document)))
        return ended
    finally:
        journal.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as e:
        result: T = e.value
        return result
    raise RuntimeError("the work waits for something")


def main(arguments: list[str]) -> int:
    """:returns: 0, or 2 for a wrong command line"""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    for outcome in update(Path(arguments[0]), Path(arguments[1]), [Path(path) for path in arguments[2:]]):
        told = {
            "revision": outcome.revision,
            "phase": outcome.phase.value,
            "reason": outcome.reason,
            "message": outcome.message,
        }
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
