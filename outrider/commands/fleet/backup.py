"""`outrider fleet backup|restore|db`: a control plane in one file, and its database's schema."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path

from outrider.commands.fleet.access import Commands, group

VARIABLE = "OUTRIDER_BACKUP_PASSPHRASE"


def configure(commands: Commands) -> None:
    """Add `backup`, `restore` and `db`."""
    backup = commands.add_parser("backup", help="write a control plane to one file, while it runs")
    backup.add_argument("dir", type=Path)
    backup.add_argument("file", type=Path)
    backup.add_argument(
        "--without-keys",
        action="store_true",
        help="leave keys and configuration out; it cannot be restored alone",
    )
    backup.add_argument(
        "--without-objects", action="store_true", help="leave artifacts out, as where a bucket keeps them"
    )
    backup.set_defaults(action=_backup)
    restore = commands.add_parser("restore", help="make a control plane of such a file")
    restore.add_argument("file", type=Path)
    restore.add_argument("dir", type=Path, help="an empty directory")
    restore.set_defaults(action=_restore)
    for parser in (backup, restore):
        parser.add_argument("--passphrase-file", type=Path, help=f"else {VARIABLE}, else it is asked for")
    database = group(commands, "db", "the schema of a control plane's database")
    for name, text, action in (
        ("check", "whether it is the one of this version", _check),
        ("upgrade", "bring it to this version; make a backup before", _upgrade),
    ):
        parser = database.add_parser(name, help=text)
        parser.add_argument("dir", type=Path)
        parser.set_defaults(action=action)


def _passphrase(args: argparse.Namespace, *, twice: bool) -> str:
    if args.passphrase_file is not None:
        return str(args.passphrase_file.read_text()).strip()
    if given := os.environ.get(VARIABLE):
        return given
    first = getpass.getpass("passphrase of the keys: ")
    if twice and getpass.getpass("once more: ") != first:
        raise SystemExit("outrider fleet: the two differ; nothing was written")
    return first


def _backup(args: argparse.Namespace) -> int:
    from fleet import backup
    from fleet.config import DataDir

    passphrase = None if args.without_keys else _passphrase(args, twice=True)
    made = backup.make(DataDir(args.dir), args.file, passphrase, with_objects=not args.without_objects)
    keys = "keys sealed" if made.keys else "without keys"
    print(f"{args.file}: {made.rows} rows, {made.objects} objects, {keys}")
    return 0


def _restore(args: argparse.Namespace) -> int:
    from fleet import backup

    made = backup.restore(args.file, args.dir, _passphrase(args, twice=False))
    print(f"{args.dir}: {made.rows} rows, {made.objects} objects; run `outrider fleet serve {args.dir}`")
    return 0


def _check(args: argparse.Namespace) -> int:
    from fleet.config import DataDir, load
    from fleet.db import Database, check_schema, schema_of

    data = DataDir(args.dir)
    database = Database(data.database_url(load(data)))
    try:
        check_schema(database)
        print(f"schema {schema_of(database)}: the one of this version")
    finally:
        database.close()
    return 0


def _upgrade(args: argparse.Namespace) -> int:
    from fleet.config import DataDir, load
    from fleet.db import migrate

    data = DataDir(args.dir)
    migrate(data.database_url(load(data)))
    return _check(args)
