"""HTML and SVG as strings that cannot be forgotten to be escaped."""

from __future__ import annotations

import html

Number = float | int
_EMPTY = frozenset(["img", "meta", "br", "hr", "path", "rect", "circle", "line"])


class Markup(str):
    """Text that is HTML already. Every other string is escaped when it is put into an element."""

    __slots__ = ()


def safe(value: str) -> Markup:
    """`value` as HTML text: Markup as it is; else escaped, unprintable characters replaced."""
    if isinstance(value, Markup):
        return value
    printable = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return Markup(html.escape(printable, quote=True))


def join(*parts: str | None) -> Markup:
    """The parts, escaped where needed, one after another; None is left out."""
    return Markup("".join(safe(part) for part in parts if part is not None))


def el(name: str, /, *children: str | None, **attributes: str | Number | None) -> Markup:
    """One element. `class_` is class, other underscores are hyphens; a None attribute is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(value: str | Number) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
