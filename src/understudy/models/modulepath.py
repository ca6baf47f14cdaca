"""Models of the user's own, named by import path: `package.module:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from understudy.errors import InputError, unknown
from understudy.models import two_heads, zoo
from understudy.models.config import ModelConfig
from understudy.models.normalize import Normalized


def is_module_path(source: str) -> bool:
    """Whether a name has the form `package.module:callable` (the callable may be dotted)."""
    module, colon, name = source.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def find_callable(source: str) -> Callable[..., Any]:
    """The object behind `package.module:callable`, found on PYTHONPATH or in the working folder.

    Importing runs the module's code: name only modules you trust.

    Raises:
        InputError: not of that form; no such module; the module fails while it is imported (what and where);
            no such name in it (the nearest is given); or the name is not callable.
    """
    if not is_module_path(source):
        raise InputError(f"{source!r} is not of the form package.module:callable")
    place, _, dotted = source.partition(":")
    found: Any = _module(place, source)
    for name in dotted.split("."):
        if not hasattr(found, name):
            public = [known for known in vars(found) if not known.startswith("_")]
            raise InputError(f"{source}: {unknown(f'name in {place}', name, public)}")
        found = getattr(found, name)
    if not callable(found):
        raise InputError(f"{source} must be callable and return an nn.Module, found {type(found).__name__}")
    return found


def build_module(source: str) -> nn.Module:
    """Call `package.module:callable` without arguments: the `nn.Module` it returns.

    Raises:
        InputError: as `find_callable`; the call fails; or it returns something else.
    """
    function = find_callable(source)
    try:
        made = function()
    except Exception as error:  # whatever the user's code raises
        raise InputError(f"{source}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{source}() must return an nn.Module, it returned {type(made).__name__}")
    return made


def build(config: ModelConfig) -> nn.Module:
    """The network of a configuration: of the zoo or by import path; normalised inside as `zoo.build` does."""
    if two_heads.is_two_heads(config.spec):
        inner, alpha, beta = two_heads.parse(config)
        return two_heads.TwoHeads(build(inner), alpha, beta)
    if not is_module_path(config.spec):
        return zoo.build(config)
    body = build_module(config.spec)
    if config.mean is None or config.std is None:
        return body
    return Normalized(body, config.mean, config.std, rank=len(config.shape))


def _module(place: str, source: str) -> Any:
    with _working_folder_importable():
        importlib.invalidate_caches()
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not (place == error.name or place.startswith(f"{error.name}.")):
                raise InputError(f"{source}: {place} needs a module that is missing: {error}") from error
            raise InputError(
                f"{source}: there is no module {error.name!r} on PYTHONPATH or in the working folder "
                f"({os.getcwd()})"
            ) from error
        except Exception as error:  # whatever the user's code raises while it is imported
            raise InputError(
                f"{source}: importing {place} failed{_line(error)}: {type(error).__name__}: {error}"
            ) from error


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """The working folder at the end of the path: installed modules come first, so nothing is shadowed."""
    folder = os.getcwd()
    added = folder not in sys.path and "" not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _line(error: BaseException) -> str:
    """Where the user's code raised: " at file:line"."""
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno}"
    trace, last = error.__traceback__, None
    while trace is not None:
        last, trace = trace, trace.tb_next
    return "" if last is None else f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
