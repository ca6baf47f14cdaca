"""The page in a real browser: no console message, and nothing wider than a narrow window."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.auditing.record import AuditRecord
from understudy.report.page import write_audit_page, write_compare_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium binary found (Debian's package is chromium)"),
]
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-extensions",
    "--enable-logging=stderr",
    "--v=0",
    "--window-size=390,900",
]


def open_page(page: Path, profile: Path) -> tuple[list[str], str]:
    """Console messages and the document after its scripts ran."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "</html>" in done.stdout, done.stderr
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stdout


PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  root.setAttribute("data-overflow", root.scrollWidth - root.clientWidth);
  const wide = [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, svg")
    && e.getBoundingClientRect().right > root.clientWidth + 1);
  root.setAttribute("data-wide", wide.map((e) => e.tagName + "." + e.className).join(" "));
  const box = document.getElementById("read");
  document.querySelector("g.pt .hit").dispatchEvent(
    new PointerEvent("pointermove", { bubbles: true, clientX: 50, clientY: 50 }));
  root.setAttribute("data-read", box.hidden ? "" : box.textContent);
  const button = document.querySelectorAll("table.sortable th button")[0];
  button.click(); button.click();
  root.setAttribute("data-first", button.closest("table").tBodies[0].rows[0].cells[0].textContent);
});</script></body>"""


def probed(page: Path) -> Path:
    """A copy of the page that measures itself: without the policy, which would refuse the added script."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    copy = page.with_name("probed.html")
    copy.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    return copy


@pytest.mark.parametrize("teachers", [0, 1, 3])
def test_audit_page_in_chromium(
    record: AuditRecord,
    worst_maker: Callable[..., Any],
    copied_maker: Callable[..., Any],
    tmp_path: Path,
    teachers: int,
) -> None:
    page = tmp_path / "report.html"
    copied, maps = copied_maker(teachers) if teachers else (None, None)
    write_audit_page(page, replace(record, copied=copied), worst_maker(record, 8), maps)
    messages, document = open_page(page, tmp_path / "one")
    assert messages == []
    assert "</title>" not in document[document.index("<body") :]  # the script ran: titles became labels
    messages, document = open_page(probed(page), tmp_path / "two")
    assert messages == []
    assert 'data-overflow="0"' in document
    assert 'data-wide=""' in document
    assert teachers or 'data-read="EmpLB, ε' in document
    assert 'data-read=""' not in document
    assert f'data-first="{len(record.points) - 1}"' in document  # sorted by point, descending


def test_compare_page_in_chromium(comparison: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_compare_page(page, *comparison)
    messages, _ = open_page(page, tmp_path / "one")
    assert messages == []
    messages, document = open_page(probed(page), tmp_path / "two")
    assert messages == []
    assert 'data-overflow="0"' in document
    assert 'data-wide=""' in document


def test_faults_are_seen(bare: AuditRecord, tmp_path: Path) -> None:
    """The checks above can fail: a foreign script, address and inline style each give a console message."""
    page = tmp_path / "report.html"
    write_audit_page(page, bare, [])
    faults = '<script>1</script><img src="https://example.invalid/x.png"/><p style="color: red">styled</p>'
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{faults}</body>"), encoding="utf-8")
    messages = open_page(page, tmp_path / "profile")[0]
    for kind in ("script", "image", "style"):
        assert any(kind in message for message in messages), (kind, messages)


def test_an_error_in_a_script_is_seen(bare: AuditRecord, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_audit_page(page, bare, [])
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    page.write_text(text.replace('"use strict";', '"use strict"; missing.call();'), encoding="utf-8")
    messages = open_page(page, tmp_path / "profile")[0]
    assert any("missing is not defined" in message for message in messages), messages
