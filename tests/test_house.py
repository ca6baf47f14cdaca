"""The house rules: which package may import which, how long a file may be, what may never be used."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

import understudy

HOUSE = Path(understudy.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
BASE = {"errors", "numbers", "version", ""}  # may be imported by all, import none
ORDER = [
    "data", "models", "attacks", "sources", "teachers", "objectives", "training", "methods", "recipes",
    "fidelity", "bounds", "auditing", "report", "testing", "jobs", "experiments", "api",
    "cli",
]  # fmt: skip
NEVER = {"bounds": {"training", "methods"}, "fidelity": {"training", "methods"}, "training": {"methods"}}
CALLS = ("train", "distill", "audit", "certify", "compare", "smooth", "export_query", "experiment", "load")


def home(path: Path) -> str:
    """The package (or module) directly below understudy that a file belongs to; "" is understudy itself."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return "" if parts in (("__init__",), ("__main__",)) else parts[0]


def imported(path: Path) -> list[tuple[str, int]]:
    """(package below understudy, line) of every import in a file, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [node.module or ""]
            if node.module == "understudy":
                names = [f"understudy.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "understudy":
                found.append((name.split(".")[1] if "." in name else "", node.lineno))
    return found


def test_every_package_has_its_place() -> None:
    assert {home(path) for path in FILES} == {*ORDER, *BASE}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_point_up_the_list(path: Path) -> None:
    here = home(path)
    if here == "":
        return  # the package's own table of names, and `python -m`
    for package, line in imported(path):
        at = f"{path.relative_to(HOUSE)}:{line} imports {package or 'understudy itself'}"
        if package in BASE - {""}:
            continue
        assert here not in BASE, f"{at}: the base imports nothing"
        assert package in ORDER, at
        assert ORDER.index(package) <= ORDER.index(here), f"{at}, which comes after {here}"
        assert package not in NEVER.get(here, set()), at
        assert package != "api" or here in ("api", "cli"), at
        assert package != "cli" or here == "cli", at


def test_files_are_small() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {str(p.relative_to(HOUSE)): n for p, n in lengths.items() if n > 400} == {}
    assert statistics.median(n for p, n in lengths.items() if p.name != "__init__.py") <= 120


def test_no_module_bears_the_name_of_a_call() -> None:
    """`understudy.train` must be the function, also after somebody imported a submodule."""
    below = {path.stem for path in HOUSE.glob("*.py")} | {
        path.name for path in HOUSE.iterdir() if path.is_dir()
    }
    assert not below & set(CALLS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_nothing_is_pickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        assert not {"pickle", "cloudpickle", "dill", "shelve", "joblib", "marshal"} & set(names), node.lineno
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load":
                assert given.get("weights_only") == "True", node.lineno
            if called in ("np.load", "numpy.load"):
                assert given.get("allow_pickle", "False") == "False", node.lineno
            assert called not in ("torch.save", "eval", "exec"), node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_errors_are_not_swallowed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{node.lineno}: a bare except"
            empty = all(isinstance(part, ast.Pass) for part in node.body)
            wide = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (empty and wide), node.lineno
    assert not [word for word in ("TODO", "FIXME", "XXX") if word in text]


def test_every_public_thing_is_documented() -> None:
    bare = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name != "__init__.py" and not ast.get_docstring(tree):
            bare.append(str(path.relative_to(HOUSE)))
        bare += [
            f"{path.relative_to(HOUSE)}:{node.name}"
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert bare == []
