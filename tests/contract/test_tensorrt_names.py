"""Our TensorRT code uses only names that every version from 10.3 to 11.4 has.

Our code runs on the fake module from end to end (tests/unit/backends), so the fake has every name it uses; here each public name of the
fake must be in the listing of every version's real bindings, and what our source takes from the module by name must be in the
fake. TensorRT for RTX is looked at itself where it is installed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import os
from enum import EnumMeta
from pathlib import Path
from typing import Any

import pytest

from runtime.model.backends import tensorrt as package
from tests.fakes import tensorrt as fake

FOLDER = Path(
    os.environ.get("OUTRIDER_TENSORRT_API")
    or Path(__file__).parents[3] / "shared" / "reference" / "tensorrt" / "api"
)
LISTINGS = sorted(FOLDER.glob("api_*.json"))
NO_LISTINGS = pytest.mark.skipif(
    not LISTINGS, reason=f"no listings in {FOLDER}; OUTRIDER_TENSORRT_API names the folder"
)
MODULE = "trt"
"""How our source calls the module; the RTX-only names are behind `library.is_rtx`."""
RTX_ONLY = {"ComputeCapability", "num_compute_capabilities", "set_compute_capability"}


def fake_classes() -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(fake).items()
        if inspect.isclass(value) and value.__module__ == fake.__name__ and not name.startswith("_")
    }


def public(kind: Any) -> set[str]:
    """Names of a class; values of an enumeration are listed with a leading `=`."""
    if isinstance(kind, EnumMeta):
        return {f"={name}" for name in kind.__members__}
    return {name for name in vars(kind) if not name.startswith("_")}


def instance_attributes(kind: Any) -> set[str]:
    """Public attributes that a constructor sets: properties of the real thing."""
    if isinstance(kind, EnumMeta) or "__init__" not in vars(kind):
        return set()
    tree = ast.parse(inspect.getsource(kind))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    }


@NO_LISTINGS
@pytest.mark.parametrize("listing", LISTINGS, ids=lambda path: path.stem)
def test_every_name_of_the_fake_is_in_the_version(listing: Path) -> None:
    known = json.loads(listing.read_text())
    missing = []
    for name, kind in fake_classes().items():
        if name not in known:
            missing.append(name)
            continue
        wanted = public(kind) | instance_attributes(kind)
        missing += [f"{name}.{attribute}" for attribute in wanted - set(known[name])]
    assert not missing


def sources() -> list[Path]:
    return sorted(Path(package.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)
def test_what_the_source_takes_from_the_module_is_in_the_fake(source: Path) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id in (MODULE, "module"))
            or (isinstance(node.value, ast.Attribute) and node.value.attr in (MODULE, "_trt"))
        )
    }
    assert used - RTX_ONLY - {"__name__", "__version__"} <= set(vars(fake))


def test_the_source_is_read_at_all() -> None:
    text = "".join(path.read_text() for path in sources())
    assert "trt.OnnxParser(" in text
    assert "trt.Refitter(" in text


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT for RTX is not installed"
)
def test_tensorrt_for_rtx_has_every_name_too() -> None:
    real = importlib.import_module("tensorrt_rtx")
    missing = []
    for name, kind in fake_classes().items():
        theirs = getattr(real, name, None)
        wanted = {attribute.lstrip("=") for attribute in public(kind) | instance_attributes(kind)}
        missing += [f"{name}.{attribute}" for attribute in wanted if not hasattr(theirs, attribute)]
    missing += [name for name in ("ComputeCapability", "nptype") if not hasattr(real, name)]
    assert not missing
