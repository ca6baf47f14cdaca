"""What importing costs, and that every public name is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import understudy as us


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy_and_sets_nothing() -> None:
    said = _python(
        "import sys, logging, warnings\n"
        "filters, handlers = list(warnings.filters), list(logging.root.handlers)\n"
        "import understudy\n"
        "dir(understudy), understudy.__version__, understudy.__all__\n"
        "ours = sorted(m for m in sys.modules if m.startswith('understudy'))\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'safetensors', 'typer', 'rich', 'jaxtyping'}\n"
        "print(ours, heavy & set(sys.modules), filters == warnings.filters, handlers == logging.root.handlers)\n"
    )
    assert said == "['understudy', 'understudy.version'] set() True True\n"


def test_using_it_opens_no_optional_library() -> None:
    said = _python(
        "import sys\nimport understudy as us\n"
        "us.train, us.Method, us.testing\n"
        "optional = {'onnx', 'onnxruntime', 'onnxscript', 'datasets', 'transformers', 'timm', 'torchvision'}\n"
        "print(optional & set(sys.modules), 'understudy.methods.robust.ard' in sys.modules)\n"
    )
    assert said == "set() False\n"  # and no method is loaded, hence none registered


def test_public_names_all_resolve() -> None:
    assert len(set(us.__all__)) == len(us.__all__)
    for name in us.__all__:
        assert getattr(us, name) is not None
        assert name in dir(us)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        us.nonsense  # noqa: B018
    from_star: dict[str, object] = {}
    exec("from understudy import *", from_star)
    assert set(us.__all__) - {"__version__"} <= set(from_star)


def test_the_checker_of_certificates_runs_without_the_engine() -> None:
    said = _python(
        "import sys\n"
        "import understudy.bounds.checker.verify, understudy.bounds.checker.exact\n"
        "ours = {m for m in sys.modules if m.startswith('understudy') and 'checker' not in m}\n"
        "print('torch' in sys.modules, sorted(ours))\n"
    )
    assert said == "False ['understudy', 'understudy.bounds', 'understudy.version']\n"
