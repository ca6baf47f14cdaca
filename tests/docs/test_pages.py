"""Every command and snippet of the documents is run: a page's blocks, in order, in an empty folder.

The sizes that a page states are made smaller (`smaller`, `smaller_python`): what is tested is that everything
runs, not what comes out of it. A block with another language than bash or python is shown only; the commands of
understudy in it must still be ones that the command line accepts.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from understudy.cli.main import app, run

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^\1[ ]*$", re.DOTALL | re.MULTILINE)
RUN, SHOWN = ("bash", "python"), ("text",)
SIZES = {"--epochs": 5, "--points": 10, "--examples": 200, "--time-limit": 1}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the rest of its information, its text, and the line it begins at."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(language, title and title[1], match["body"], line))
    return found


def commands(text: str) -> list[str]:
    """The commands of a shell block; a line that ends in a backslash goes on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def smaller(words: list[str]) -> list[str]:
    """A command with the sizes it states, or takes by default, made small."""
    out = list(words)
    for option, most in SIZES.items():
        if option in out:
            place = out.index(option) + 1
            out[place] = str(min(int(out[place]), most))
    if "--seeds" in out:
        place = out.index("--seeds") + 1
        out[place] = out[place].split(",")[0]
    if "--methods" in out:
        place = out.index("--methods") + 1
        out[place] = out[place].split(",")[-1]
    fitted = {"decision_tree_kd", "distill_and_compare"} & set(out)  # no epochs to make fewer of
    if out[0] in ("train", "distill", "compare") and not {"--resume", "--epochs"} & set(out) and not fitted:
        out += ["--epochs", str(SIZES["--epochs"])]
    if out[0] in ("audit", "compare") and "--points" not in out:
        out += ["--points", str(SIZES["--points"])]
    if out[0] == "compare" and "--eps" not in out:
        out += ["--eps", "0.05"]
    return out


def smaller_python(text: str) -> str:
    """A snippet with the numbers of epochs and points that it states made small."""
    for name in ("epochs", "points"):
        most = SIZES[f"--{name}"]
        text = re.sub(rf"\b{name}=(\d+)", lambda m, n=name, k=most: f"{n}={min(int(m[1]), k)}", text)
    return text


@contextlib.contextmanager
def fresh_modules() -> Iterator[None]:
    """Modules that a page writes are found in the working folder, and forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).resolve().parent == Path.cwd().resolve():
                del sys.modules[name]


def run_command(line: str, where: str) -> None:
    """Run one line of a shell block, or hold it to be one that would run."""
    words = shlex.split(line, comments=True)
    if words[0] == "understudy":
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run(smaller(words[1:]))
        assert code == 0, f"{where}: `{line}` ended with {code}:\n{said.getvalue()}"
    elif words[0] == "make":
        if shutil.which("make") is None:
            pytest.skip("make is not installed")
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{where}: `{line}`: {done.stderr}"
    else:
        pytest.fail(f"{where}: no test runs `{words[0]}`; mark the block as text if it must not run")


def check_accepted(words: list[str], where: str) -> None:
    """Hold a command that is only shown to be one that the command line accepts."""
    command: Any = typer.main.get_command(app)
    known = command.commands.get(words[0])
    assert known is not None, f"{where}: there is no command {words[0]!r}"
    rest = [word for word in words[1:] if word != "..."]
    required = [p.opts[0] for p in known.params if p.required and p.opts[0].startswith("--")]
    if "..." in words:  # an excerpt: the rest is whatever is needed
        rest += [part for option in required if option not in rest for part in (option, "x")]
    try:
        known.make_context(words[0], rest)
    except Exception as error:
        pytest.fail(f"{where}: `understudy {shlex.join(words)}` is not accepted: {error}")


PLAYED = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", PLAYED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    with fresh_modules():
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            assert block.language in RUN + SHOWN, f"{where}: the language must be one of {RUN + SHOWN}"
            if block.title is not None:
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile(smaller_python(block.text), where, "exec"), names)
            elif block.language == "bash":
                for line in commands(block.text):
                    run_command(line, where)
            else:
                for line in commands(block.text):
                    if line.startswith("understudy "):
                        check_accepted(shlex.split(line)[1:], where)


def test_a_block_that_nothing_runs_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception, match="no test runs `curl`"):
        run_command("curl example.org", "here")
    with pytest.raises(AssertionError, match="ended with 2"):
        run_command("understudy methods no-such-method", "here")
    with pytest.raises(AssertionError, match="No rule"):
        run_command("make no-such-target", "here")
    with pytest.raises(pytest.fail.Exception, match="not accepted"):
        check_accepted(shlex.split("audit --teacher a --no-such-option 1 ..."), "here")


def test_sizes_are_made_smaller_and_nothing_else() -> None:
    stated = [
        "compare",
        "--methods",
        "sd,fd",
        "--seeds",
        "0,1",
        "--epochs",
        "60",
        "--eps",
        "0.1",
        "--points",
        "3",
    ]
    wanted = ["compare", "--methods", "fd", "--seeds", "0", "--epochs", "5", "--eps", "0.1", "--points", "3"]
    assert smaller(stated) == wanted
    assert smaller(["audit", "--eps", "0.1"]) == ["audit", "--eps", "0.1", "--points", "10"]
    assert smaller(["train", "--resume", "x"]) == ["train", "--resume", "x"]
    assert smaller_python("f(epochs=20, points=3, lr=50)") == "f(epochs=5, points=3, lr=50)"
