"""What documents state about the code, the files and each other."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from understudy.cli.main import app
from understudy.experiments import EXPERIMENTS, experiment_of
from understudy.methods import CATALOGUE
from understudy.models.onnx.ops import OPS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and GitHub make them of plain words."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_file(), f"{page.name} links to {target}"
        if ROOT / "docs" in page.parents:
            assert ROOT / "docs" in there.parents, f"{page.name} links out of docs/: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}; it has {sorted(anchors(there))}"


def test_every_method_has_a_card() -> None:
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for name, place in CATALOGUE.items():
        module, kind = place.split(":")
        assert f"::: {module}\n" in text, f"docs/methods.md has no card of {name}"
        assert f"members: [{kind}]" in text
        assert f"| `{name}` |" in text


def test_onnx_operators_are_all_listed() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    listed = re.search(r"<!-- operators -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert listed is not None
    assert [name.strip() for name in listed[1].replace("\n", " ").split(",")] == sorted(OPS)


def test_every_command_is_in_the_readme_or_the_guide() -> None:
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__.replace("_", "-")
        assert f"understudy {name}" in texts, f"no page shows `understudy {name}`"


def test_tables_and_picture_are_what_the_kept_results_give() -> None:
    tables = script(ROOT / "benchmarks" / "tables.py")
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text) == text, f"{page.name}: run python benchmarks/tables.py"
    curves = script(ROOT / "docs" / "images" / "curves.py")
    kept = tables.load("digits")
    drawn = (ROOT / "docs" / "images" / "curves.svg").read_text(encoding="utf-8")
    assert curves.picture(kept) == drawn, "run python docs/images/curves.py"


def test_the_catalogue_is_what_the_kept_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    catalogue = script(ROOT / "benchmarks" / "catalogue.py")
    text = catalogue.PAGE.read_text(encoding="utf-8")
    assert catalogue.filled(text) == text, "run python benchmarks/catalogue.py"


def test_the_chapter_on_fidelity_is_what_the_kept_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    laboratory = script(ROOT / "benchmarks" / "laboratory.py")
    text = laboratory.PAGE.read_text(encoding="utf-8")
    assert {at["name"] for at in laboratory.PLACE.finditer(text)} == set(EXPERIMENTS)
    assert laboratory.filled(text) == text, "run python benchmarks/laboratory.py"
    for name, kind in EXPERIMENTS.items():
        assert laboratory.load(name)["claim"] == experiment_of(name).claim, kind
    copies = script(ROOT / "docs" / "images" / "copies.py")
    drawn = (ROOT / "docs" / "images" / "copies.svg").read_text(encoding="utf-8")
    assert copies.picture(copies.kept()) == drawn, "run python docs/images/copies.py"
    pictures = script(ROOT / "docs" / "images" / "laboratory.py")
    for name in pictures.PICTURES:
        drawn = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
        assert pictures.picture(name, pictures.load(name)) == drawn, "run python docs/images/laboratory.py"
        assert f"](images/{name}.svg)" in text


def test_every_experiment_has_its_page() -> None:
    index = (ROOT / "docs" / "experiments" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^- \[[^]]*\]\((\w+)\.md\)$", index, re.MULTILINE) == list(EXPERIMENTS)


def test_a_table_that_was_edited_by_hand_is_noticed() -> None:
    tables = script(ROOT / "benchmarks" / "tables.py")
    readme = tables.PAGES[0].read_text(encoding="utf-8")
    wrong = readme.replace("| FD |", "| FD, the best |")
    assert wrong != readme
    assert tables.filled(wrong) == readme


def test_pages_name_no_machine_and_no_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org")
    for page in [*PAGES, *(ROOT / "examples").glob("*.py"), ROOT / "mkdocs.yml"]:
        text = page.read_text(encoding="utf-8")
        assert not any(host in text for host in hosts), f"{page.name} names a package registry"
        assert not re.search(r"(^|[\s\"'(=])/(work|home|root|tmp)/", text), (
            f"{page.name} names a machine's path"
        )
