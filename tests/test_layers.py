"""The house is built in layers: imports go downwards only, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up. A module imports its own layer, and layers below it; CONTRIBUTING shows the picture.
LAYERS = (
    ("arrays", "errors", "files", "values"),
    ("hardware",),
    ("model",),
    ("diffusion", "imaging"),
    ("io",),
    ("suv",),
    ("engines", "evaluation"),
    ("data",),
    ("inference", "nets"),
    ("export", "node", "train"),
    ("flops",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
FREE = {"petrt", "petrt._core", "petrt._cuda"}  # the C++ core; the names that users import


def modules(folder: Path, package: str) -> dict[str, Path]:
    """Every module below ``folder`` by the name it is imported under."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


# petrt.export comes from a folder at the top.
PACKAGE = modules(ROOT / "python" / "petrt", "petrt") | modules(ROOT / "export", "petrt.export")
BENCHMARKS = modules(ROOT / "benchmarks", "benchmarks")


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node`` that run: what stands under TYPE_CHECKING does not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        yield child
        yield from runtime_nodes(child)


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """The ``known`` modules that ``name`` imports, at its top or inside a function."""
    wanted: set[str] = set()
    for node in runtime_nodes(ast.parse(known[name].read_text())):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                wanted.add(inner if inner in known else node.module)
    return {each for each in wanted if each in known and each != name}


GRAPH = {name: imports(name, PACKAGE) for name in PACKAGE}


def layer(name: str) -> int:
    part = name.split(".")[1]
    return next(i for i, names in enumerate(LAYERS) if part in names)


def test_every_room_has_a_layer():
    rooms = {name.split(".")[1] for name in PACKAGE if "." in name}
    assert rooms == {room for names in LAYERS for room in names}


def test_imports_go_downwards():
    upward = [
        f"{name} -> {other}"
        for name, others in sorted(GRAPH.items())
        for other in sorted(others)
        if name not in FREE and other not in FREE and layer(other) > layer(name)
    ]
    assert upward == []


@pytest.mark.parametrize("known", [PACKAGE, BENCHMARKS], ids=["petrt", "benchmarks"])
def test_no_import_goes_in_a_circle(known):
    graph, done = {name: imports(name, known) for name in known}, set(FREE)

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            pytest.fail(" -> ".join((*path[path.index(name) :], name)))
        if name in done:
            return
        for other in sorted(graph[name]):
            walk(other, (*path, name))
        done.add(name)

    for name in sorted(graph):
        walk(name, ())


def test_helpers_of_tests_stand_beside_them():
    known = modules(ROOT / "tests", "tests")
    tests = {name for name in known if name.rpartition(".")[2].startswith("test_")}
    assert {name: found for name in known if (found := imports(name, known) & tests)} == {}
