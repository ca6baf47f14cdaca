"""The document around the sections: head, style, script, the policy that keeps it off the network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from understudy.errors import InputError
from understudy.report.markup import Markup, el, join
from understudy.report.words import flatten


def asset(name: str) -> str:
    """A file of report/assets, as text."""
    return (files("understudy.report") / "assets" / name).read_text(encoding="utf-8").strip()


def document(title: str, header: str, sections: Sequence[str | None], footer: str) -> str:
    """A whole page. Its content security policy allows only its own style, script and data-URI images."""
    style, script = asset("page.css"), asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        Markup(f'<link rel="icon" href="data:,"/><style>{style}</style>'),
    )
    body = el(
        "body",
        el("header", header, class_="top"),
        el("main", *sections),
        el("footer", footer),
        Markup('<div id="read" hidden="hidden" aria-hidden="true"></div>'),
        Markup(f"<script>{script}</script>"),
    )
    page = el("html", head, body, lang="en")
    for sign in ("=", "≤"):  # a radius never breaks across lines
        page = Markup(page.replace(f"ε {sign} ", f"ε\u00a0{sign}\u00a0"))
    return f"<!doctype html>\n{page}\n"


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def section(title: str, *content: str | None, lead: str | None = None) -> Markup:
    """A section: its heading and what to look for in the margin, its content beside them."""
    said = el("p", lead, class_="lead") if lead else None
    return el(
        "section", el("div", el("h2", title), said, class_="margin"), el("div", *content, class_="content")
    )


def panels(*parts: str | None) -> Markup:
    """Figures side by side where there is room."""
    return el("div", *parts, class_="panels")


def save(path: Path, content: str) -> None:
    """Write the page whole or not at all. InputError if the folder is missing or cannot be written."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write the page {str(path)!r}: {error.strerror or error}") from error


def named(values: dict[str, object]) -> list[tuple[str, str]]:
    """Nested settings as rows of (name with spaces, text)."""
    return [(name.replace("_", " "), value) for name, value in flatten(values)]


def brand(kind: str) -> Markup:
    """The line above the title."""
    return join(el("p", el("span", "understudy", class_="brand"), f" {kind}", class_="kicker"))
