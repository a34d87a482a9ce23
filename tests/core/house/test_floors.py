"""The rules of the house: who may import whom, and what stays light."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir() if p.is_dir())
SOURCES = sorted(ROOT.glob("packages/*/src/medzoo/**/*.py"))
CORE = ROOT / "packages/core/src/medzoo/core"
FLOORS = [
    {"errors", "names", "seams", "seeding", "spelling", "lazy", "safe_yaml", "sample", "sides", "distributed",
     "shared_memory", "torch_files", "values", "registry", "io", "geometry", "metrics", "ops", "plots", "phantoms",
     "backbones", "inference", "optim"},
    {"recipes", "data"},
    {"tasks", "method", "selectors"},
    {"runs", "classifier", "segmenter"},
    {"zoo"},
    {"cli", "__main__", "benchmark", "evaluate", "files", "pack", "report", "new", "export", "convert"},
    {"testing"},
]  # fmt: skip
"""Rooms of core, the ground first; a room imports from its own floor and from those below."""
SEAMS = {
    "torch.nn.modules.batchnorm._BatchNorm",
    "torch.utils._python_dispatch.TorchDispatchMode",
    "torch._C",
    "torch._C._are_functorch_transforms_active",
    "torch._C._get_tracing_state",
    "torch._C._len_torch_dispatch_stack",
    "ArgumentParser._actions",
    "jsonargparse._typehints",
    "LightningCLI._dump_config",
    "LightningCLI._set_seed",
    "Trainer._results",
    "lightning.pytorch.trainer.connectors.logger_connector.result._ResultMetric",
    "torchmetrics.Metric._to_sync",
    "torchmetrics.Metric._should_unsync",
    "monai.transforms.Randomizable._do_transform",
}


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of the modules that a file imports, with what it takes from them."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_is_no_file_that_would_close_the_namespace() -> None:
    assert not list(ROOT.glob("packages/*/src/medzoo/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_core_and_never_each_other(package: str) -> None:
    others = [f"medzoo.{p}" for p in PACKAGES if p not in (package, "core")]
    for path in SOURCES:
        if f"/packages/{package}/" in str(path):
            bad = [i for i in imported(path) for o in others if i == o or i.startswith(o + ".")]
            assert not bad, f"{path} imports {bad}"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "packages").parts[2:]).removesuffix(".py").removesuffix(".__init__")


@cache
def graph() -> dict[str, set[str]]:
    """Which module of medzoo imports which, inside functions too; imports for type checkers alone are left out."""
    files = {module_of(path): path for path in SOURCES}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf8"))
        typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
        skipped = {id(inner) for block in typing for inner in ast.walk(block)}
        taken = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and id(n) not in skipped]
        asked = {f"{n.module}.{a.name}" for n in taken for a in n.names} | {str(n.module) for n in taken}
        # A name taken from a package is a module of it, or stands in its `__init__`.
        found[name] = {target for target in asked if target in files and target != name} - {
            str(n.module) for n in taken if all(f"{n.module}.{a.name}" in files for a in n.names)
        }
    return found


def test_no_two_modules_import_each_other_even_by_way_of_others() -> None:
    left = {name: set(targets) for name, targets in graph().items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"a circle: {sorted(left)}"


def test_rooms_of_core_import_from_their_own_floor_and_below() -> None:
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    rooms = {
        (p.stem if p.is_file() else p.name) for p in CORE.iterdir() if p.suffix in (".py", "") and p.name[0] != "."
    }
    assert rooms - {"__init__", "__pycache__"} == set(floor), "a room has no floor"
    for name, targets in graph().items():
        if name.startswith("medzoo.core."):
            for target in targets - {"medzoo.core"}:
                assert floor[target.split(".")[2]] <= floor[name.split(".")[2]], f"{name} imports {target}"


def test_folders_of_methods_do_not_import_each_other() -> None:
    methods = {module_of(card.parent / "__init__.py") for card in ROOT.glob("packages/*/src/medzoo/*/*/card.md")}
    for name, targets in graph().items():
        own = next((m for m in methods if name == m or name.startswith(m + ".")), None)
        # The classifier of core lies below all packages, and methods may build on it.
        beside = {m for m in methods - {own} if not m.startswith("medzoo.core.")}
        other = [t for t in targets for m in beside if t == m or t.startswith(m + ".")]
        assert own is None or not other, f"{name} imports {other}"


def test_private_names_of_other_libraries_stand_in_one_file() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf8")) for path in SOURCES}
    ours: set[str] = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.arg):
                ours.add(node.arg)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                ours.add(node.id if isinstance(node, ast.Name) else node.attr)
    found: dict[Path, set[str]] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            private: list[str] = []
            if isinstance(node, ast.Attribute) and node.attr not in ours and ast.unparse(node.value) != "os":
                private = [node.attr]
            elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith(("medzoo", "__future__")):
                parts = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                private = [parts[-1] for part in parts if part.startswith("_")]
            private = [p for p in private if (p.startswith("_") and not p.startswith("__")) or p == "TorchDispatchMode"]
            if private:
                found.setdefault(path, set()).update(private)
    assert set(found) == {CORE / "seams.py"}, found
    assert found[CORE / "seams.py"] == {name.rpartition(".")[2] for name in SEAMS}


def test_networks_and_losses_are_plain_torch() -> None:
    for path in SOURCES:
        if path.name in ("network.py", "losses.py"):
            bad = [
                i
                for i in imported(path)
                if i.split(".")[0] in ("lightning", "jsonargparse") or i.startswith("medzoo.core.io")
            ]
            assert not bad, f"{path} imports {bad}"


@pytest.mark.parametrize(
    "light",
    [
        "registry/__init__.py",
        "registry/names.py",
        "registry/kinds.py",
        "registry/loading.py",
        "registry/cards.py",
        "distributed.py",
        "errors.py",
        "__init__.py",
        "cli/__init__.py",
        "cli/verbs.py",
        "cli/request.py",
    ],
)
def test_light_modules_import_nothing_heavy(light: str) -> None:
    heavy = {
        "torch",
        "lightning",
        "timm",
        "monai",
        "torchmetrics",
        "matplotlib",
        "numpy",
        "scipy",
        "jsonargparse",
        "rich",
    }
    bad = {
        i
        for i in imported(ROOT / "packages/core/src/medzoo/core" / light, top_level_only=True)
        if i.split(".")[0] in heavy
    }
    assert not bad


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "os.system", "yaml.unsafe_load"), path
            if name == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path
            assert "shell=True" not in ast.unparse(node), path


def test_what_is_printed_goes_through_the_two_functions_that_make_it_safe() -> None:
    doors = {"cli/streams.py": "say", "distributed.py": "print_once"}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf8"))
        door = next((name for place, name in doors.items() if path.as_posix().endswith(f"medzoo/core/{place}")), None)
        allowed = [n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == door for n in ast.walk(f)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node not in allowed:
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                plain = isinstance(node.func, ast.Name) and name == "print"
                assert not plain, f"{path}:{node.lineno} prints on its own"
                assert name != "print_help" or isinstance(node.func, ast.Name), f"{path}:{node.lineno}"
