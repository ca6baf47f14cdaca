"""The guide builds without a warning, and its pages ask nothing of the network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("mkdocs", "material", "mkdocstrings")
LOADED = re.compile(
    r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)", re.IGNORECASE
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in PARTS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"the guide is built with {', '.join(missing)}, not installed: pip install 'understudy[docs]'"
        )
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_guide_builds_without_warnings(site: Path) -> None:
    assert (site / "index.html").is_file()


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        asked = LOADED.findall(page.read_text(encoding="utf-8"))
        assert not asked, f"{page.name} loads {asked}"
    for sheet in site.rglob("*.css"):
        assert not re.search(
            r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")
        ), sheet


def test_api_pages_have_the_public_names(site: Path) -> None:
    import understudy as us

    html = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in us.__all__:
        if name in ("__version__", "testing"):
            continue
        found = getattr(us, name)
        places = {found.__module__, found.__module__.rpartition(".")[0], "understudy.api"}
        assert any(f'id="{place}.{name}"' in html for place in places), f"no API page shows {name}"


def test_the_audit_page_has_every_field(site: Path) -> None:
    from dataclasses import fields

    from understudy.auditing import copied_record, record

    html = (site / "audit.html").read_text(encoding="utf-8")
    kinds = ("AuditRecord", "ModelRecord", "DataRecord", "PointRecord", "RadiusRecord", "SummaryRecord")
    copied = ("CopiedRecord", "AnswersRecord", "AttentionRecord", "MapPairRecord", "LookedAt", "LayersRecord")
    for kind, place in [(k, record) for k in kinds] + [(k, copied_record) for k in copied]:
        signature = html.partition(f'id="{place.__name__}.{kind}"')[2].partition("</pre>")[0]
        shown = re.sub(r"<[^>]+>", "", signature)
        for field in fields(getattr(place, kind)):
            assert re.search(rf"\b{field.name}\s*:", shown), f"{kind}.{field.name}"
