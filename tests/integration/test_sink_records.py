"""Files on a real disk and rows in real databases."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from runtime.sinks.desk import Desk
from runtime.sinks.pictures import Pictures
from tests.fakes.postgres import PASSWORD, Postgres, program
from tests.integration.sink_rig import PICTURE, executor, outputs, run, tidy

__all__ = ["tidy"]


def written(desk: Desk, folder: Path, pattern: str = "*") -> list[Path]:
    assert desk.close(5.0) == {}
    return sorted(folder.glob(pattern))


def test_lines_are_appended_and_files_rotate_by_size_and_the_oldest_go(tmp_path: Path) -> None:
    desk = Desk(files=tmp_path)
    step = {
        "type": "outrider/file_sink@v1", "directory": "log", "data": {"n": "$inputs.value", "box": [1, 2]},
        "max_bytes": 1024, "keep_bytes": 2500,
    }  # fmt: skip
    work = executor(step, desk)
    for number in range(200):
        assert not outputs(work.run({"image": PICTURE, "value": number}))["error_status"]
    files = written(desk, tmp_path / "log", "outrider_*.jsonl")
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) <= 1024
    assert sum(sizes) <= 2500 + 1024
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert lines[-1]["n"] == 199
    assert [line["n"] for line in lines] == list(range(200 - len(lines), 200))


def test_each_csv_file_has_its_header(tmp_path: Path) -> None:
    desk = Desk(files=tmp_path)
    step = {
        "type": "outrider/file_sink@v1",
        "format": "csv",
        "directory": ".",
        "data": {"n": "$inputs.value"},
        "max_entries": 2,
    }
    work = executor(step, desk)
    for number in range(5):
        work.run({"image": PICTURE, "value": f'{number},"x"'})
    files = written(desk, tmp_path, "*.csv")
    rows = [list(csv.DictReader(path.read_text().splitlines())) for path in files]
    assert [len(part) for part in rows] == [2, 2, 1]
    assert [row["n"] for part in rows for row in part] == [f'{number},"x"' for number in range(5)]


def test_a_picture_is_kept_as_jpeg_unless_the_policy_lets_none_leave_the_process(tmp_path: Path) -> None:
    step = {"type": "outrider/file_sink@v1", "format": "jpeg", "directory": "shots", "image": "$inputs.image"}
    desk = Desk(files=tmp_path, pictures=Pictures("device"))
    assert not run(step, desk)["error_status"]
    (shot,) = written(desk, tmp_path / "shots")
    picture = cv2.imread(str(shot))
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert run(step, Desk(files=tmp_path, pictures=Pictures("none")))["error_status"]


@pytest.mark.parametrize("directory", ["/etc", "../elsewhere", "a/../../b"])
def test_nothing_is_written_outside_the_devices_folder(tmp_path: Path, directory: str) -> None:
    root = tmp_path / "files"
    root.mkdir()
    desk = Desk(files=root)
    told = run({"type": "outrider/file_sink@v1", "directory": directory, "data": {"n": 1}}, desk)
    assert told["error_status"]
    assert "outside the device's folder" in told["message"]
    assert written(desk, root) == []


def test_the_originals_file_block_appends_csv_without_repeating_the_header(tmp_path: Path) -> None:
    desk = Desk(files=tmp_path)
    step = {
        "type": "roboflow_core/local_file_sink@v1", "content": "$inputs.value", "file_type": "csv",
        "output_mode": "append_log", "target_directory": str(tmp_path), "file_name_prefix": "people",
    }  # fmt: skip
    work = executor(step, desk)
    for number in range(3):
        assert not outputs(work.run({"image": PICTURE, "value": f"time,n\nnow,{number}\n"}))["error_status"]
    (path,) = written(desk, tmp_path)
    assert path.read_text() == "time,n\nnow,0\nnow,1\nnow,2\n"


def test_separate_files_do_not_overwrite_each_other_and_bad_json_is_told(tmp_path: Path) -> None:
    desk = Desk(files=tmp_path)
    step = {
        "type": "roboflow_core/local_file_sink@v1", "content": "$inputs.value", "file_type": "json",
        "output_mode": "separate_files", "target_directory": ".",
    }  # fmt: skip
    work = executor(step, desk)
    for number in range(5):
        work.run({"image": PICTURE, "value": json.dumps({"n": number})})
    told = run({**step, "output_mode": "append_log"}, desk, value="{no json")
    assert told == {"error_status": True, "message": "Invalid JSON content"}
    files = written(desk, tmp_path)
    assert sorted(json.loads(path.read_text())["n"] for path in files) == list(range(5))


# --- SQL --------------------------------------------------------------------------------------------------------------


def test_rows_go_into_sqlite_whatever_their_names_and_values(tmp_path: Path) -> None:
    desk = Desk(files=tmp_path)
    step = {
        "type": "outrider/sql_insert@v1", "database": "sqlite:db/line.sqlite", "table": 'odd "table"; DROP',
        "data": {"count": "$inputs.value", 'a"b': "it's", "list": [1, 2], "none": None},
    }  # fmt: skip
    work = executor(step, desk)
    for number in range(3):
        assert not outputs(work.run({"image": PICTURE, "value": number}))["error_status"]
    assert desk.close(5.0) == {}
    with sqlite3.connect(tmp_path / "db" / "line.sqlite") as db:
        rows = db.execute('SELECT * FROM "odd ""table""; DROP"').fetchall()
    db.close()
    assert rows == [(number, "it's", "[1, 2]", None) for number in range(3)]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    server.execute('CREATE TABLE "Rejects" (n integer NOT NULL, kind text, boxes jsonb)')
    yield server
    server.stop()


def postgres_step(server: Postgres, **fields: Any) -> dict[str, Any]:
    return {
        "type": "roboflow_core/postgresql_sink@v1",
        "host": "127.0.0.1",
        "port": server.port,
        "database": "postgres",
        "username": "outrider",
        "password": PASSWORD,
        "table_name": "Rejects",
        "data": "$inputs.value",
        "sslmode": "disable",
        "fire_and_forget": False,
        **fields,
    }


def test_rows_go_into_postgresql_in_one_transaction(postgres: Postgres) -> None:
    postgres.execute('TRUNCATE "Rejects"')
    rows = [{"n": 1, "kind": "dented", "boxes": [[1, 2]]}, {"n": 2, "kind": "o'k", "boxes": None}]
    assert run(postgres_step(postgres), value=rows) == {
        "error_status": False,
        "message": "Successfully inserted 2 records",
    }
    assert postgres.execute('SELECT n, kind, boxes FROM "Rejects" ORDER BY n') == [
        (1, "dented", [[1, 2]]),
        (2, "o'k", None),
    ]
    told = run(postgres_step(postgres), value=[{"n": 3, "kind": "a"}, {"n": None, "kind": "b"}])
    assert told["error_status"]
    assert "SQLSTATE 23502" in told["message"]
    assert postgres.execute('SELECT count(*) FROM "Rejects"') == [(2,)]


def test_our_sql_block_reaches_the_same_table_and_a_wrong_password_is_not_shown(postgres: Postgres) -> None:
    postgres.execute('TRUNCATE "Rejects"')
    step = {
        "type": "outrider/sql_insert@v1", "database": f"postgresql://outrider@127.0.0.1:{postgres.port}/postgres",
        "password": PASSWORD, "table": "Rejects", "data": {"n": "$inputs.value"}, "fire_and_forget": False,
    }  # fmt: skip
    assert not run(step, value=9)["error_status"]
    assert postgres.execute('SELECT n FROM "Rejects"') == [(9,)]
    desk = Desk(patience_s=2.0)
    told = run(postgres_step(postgres, password="wr0ng-secret"), desk, value={"n": 1})
    assert "wr0ng-secret" not in json.dumps(told)
    assert "wr0ng-secret" not in desk.figures()["sink"].error
    assert desk.figures()["sink"].delivered == 0
    desk.close(0.1)
