"""The arrows between packages: read from the imports, so that a wrong one fails here and not in a year."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("wire", "runtime", "agent", "fleet", "outrider")
ALLOWED = {
    "wire": set(),
    "runtime": {"wire"},
    "agent": {"wire"},
    "fleet": {"wire"},
    "outrider": {"wire", "runtime", "agent", "fleet"},
}
FORBIDDEN = {
    "agent": {"numpy", "cv2", "onnxruntime", "tensorrt", "onnx", "supervision"},
    "wire": {"numpy", "cv2", "onnxruntime", "paho", "httpx", "socket", "sqlite3", "time", "asyncio"},
    "fleet": {"numpy", "cv2", "onnxruntime", "tensorrt"},
    "runtime": {"paho", "httpx", "sqlalchemy", "fastapi"},
}
PERMITTED = {("runtime.sinks.web", "httpx")}
"""A sink's own library, imported inside the function that sends."""
IMPORT = re.compile(r"^([ \t]*)((?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(?:\([^)]*\)|[^\n#;]+))", re.MULTILINE)
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "shared"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@functools.cache
def tree(path: Path) -> ast.Module:
    """The import statements of a file alone, those within functions under an `if`: parsing whole files takes a second. Text that looks like an
    import counts as one."""
    found = IMPORT.findall(path.read_text())
    lines = [f"if 0: {words}" if indent else words for indent, words in found]
    return ast.parse("\n".join(lines))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def heads(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_every_package_imports_only_what_the_design_allows() -> None:
    wrong = [
        f"{module} imports {head}"
        for module, path in modules()
        for head in heads(path) & set(OURS)
        if head != (own := module.split(".")[0]) and head not in ALLOWED[own]
    ]
    assert not wrong


def test_no_package_imports_a_library_that_is_not_its_business() -> None:
    wrong = [
        f"{module} imports {head}"
        for module, path in modules()
        for head in heads(path) & FORBIDDEN.get(module.split(".")[0], set())
        if (module, head) not in PERMITTED
    ]
    assert not wrong


def test_modules_import_each_other_in_no_cycle() -> None:
    known = dict(modules())
    graph = {module: top_level_imports(path) & set(known) - {module} for module, path in known.items()}
    done: set[str] = set()
    for start in graph:
        walk(start, graph, [], done)


def top_level_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def walk(module: str, graph: dict[str, set[str]], trail: list[str], done: set[str]) -> None:
    assert module not in trail, " → ".join([*trail[trail.index(module) :], module])
    if module in done:
        return
    for following in graph[module]:
        walk(following, graph, [*trail, module], done)
    done.add(module)


def test_no_module_is_a_drawer() -> None:
    assert not [module for module, _ in modules() if module.split(".")[-1] in DRAWERS]
