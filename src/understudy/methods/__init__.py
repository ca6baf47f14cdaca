"""The catalogue: one visible table from name to class, loaded when a name is used."""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from understudy.errors import InputError, unknown
from understudy.numbers import read_number

CATALOGUE: dict[str, str] = {
    "kd": "understudy.methods.robust.kd:SD",
    "ard": "understudy.methods.robust.ard:ARD",
    "rslad": "understudy.methods.robust.rslad:RSLAD",
    "iad": "understudy.methods.robust.iad:IAD",
    "adaad": "understudy.methods.robust.adaad:AdaAD",
    "faithful_kd": "understudy.methods.robust.faithful_kd:FaithfulKD",
    "ce": "understudy.methods.robust.ce:CE",
    "label_smoothing": "understudy.methods.logits.label_smoothing:LabelSmoothing",
    "at": "understudy.methods.robust.at:AT",
    "trades": "understudy.methods.robust.trades:TRADES",
    "rkd": "understudy.methods.relations.rkd:RKD",
    "pld": "understudy.methods.logits.pld:PLD",
    "sinkd": "understudy.methods.transport.sinkd:SinKD",
    "ps_kd": "understudy.methods.memory.ps_kd:PSKD",
    "sft": "understudy.methods.language.sft:SFT",
    "uld": "understudy.methods.language.uld:ULD",
    "gkd": "understudy.methods.language.gkd:GKD",
    "redi": "understudy.methods.language.redi:REDI",
    "bd_kd": "understudy.methods.online.bd_kd:BDKD",
    "meal_v2": "understudy.methods.teams.meal_v2:MEALV2",
    "wakd": "understudy.methods.weights.wakd:WAKD",
    "dho": "understudy.methods.labels.dho:DHO",
    "e2kd": "understudy.methods.interpretable.e2kd:E2KD",
    "sparse_logit_sampling": "understudy.methods.logits.sparse_logit_sampling:SparseLogitSampling",
    "fitnets": "understudy.methods.features.fitnets:FitNets",
    "boot": "understudy.methods.diffusion.boot:BOOT",
    "leaf": "understudy.methods.embeddings.leaf:LEAF",
    "ff_g2m": "understudy.methods.graphs.ff_g2m:FFG2M",
    "binary_relevance": "understudy.methods.labels.binary_relevance:BinaryRelevance",
    "l2d_multi_label": "understudy.methods.labels.l2d:L2D",
    "good_data_augmentation": "understudy.methods.sources.good_data_augmentation:CutMixPick",
    "tgeo_kd": "understudy.methods.weights.tgeo_kd:TGeoKD",
    "retain_while_acquiring": "understudy.methods.data_free.retain_while_acquiring:RetainWhileAcquiring",
    "ofa_kd": "understudy.methods.logits.ofa_kd:OFAKD",
    "understanding_kd": "understudy.methods.logits.understanding_kd:TeacherLevels",
    "reinforced_multi_teacher": "understudy.methods.teams.reinforced_multi_teacher:ReinforcedMultiTeacher",
}
ALIASES: dict[str, str] = {
    "sd": "kd",
    "fd": "faithful_kd",
    "pgd": "at",
    "none": "ce",
    "cutmixpick": "good_data_augmentation",
    "bce": "binary_relevance",
    "l2d": "l2d_multi_label",
}


def method_class(name: str) -> type[Any]:
    """The class of a method in the catalogue, or of a user's own given as `package.module:Class`.

    Raises:
        InputError: no such method; lists the nearest names.
    """
    from understudy.models.modulepath import find_callable
    from understudy.objectives.base import Objective

    if ":" in name:
        found: Any = find_callable(name)
        if not (isinstance(found, type) and issubclass(found, Objective)):
            raise InputError(f"{name!r} is not a subclass of understudy.Method or understudy.Objective")
        return found
    target = CATALOGUE.get(ALIASES.get(name, name))
    if target is None:
        raise unknown("method", name, [*CATALOGUE, *ALIASES])
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def make_method(name: str, options: dict[str, str] | None = None) -> Any:
    """A method by name, with fields set from text as `--set field=value` gives it.

    Raises:
        InputError: no such method or field, or a value of the wrong type or out of range.
    """
    return from_text(method_class(name), name, options)


def from_text(kind: type[Any], name: str, options: Mapping[str, str] | None) -> Any:
    """An object of a dataclass, with fields set from text; `name` is what messages call it.

    Raises:
        InputError: no such field, a value of the wrong type or out of range, or a field without a value.
    """
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    changes = {}
    for field, text in (options or {}).items():
        if field not in known:
            raise unknown(f"option of {name}", field, known)
        changes[field] = parse_value(f"{name}.{field}", text, hints[field])
    bare = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [field for field in bare if field not in changes]:
        raise InputError(f"{name} has no default for {', '.join(missing)}: set it")
    return kind(**changes)


def parse_value(what: str, text: str, kind: Any) -> Any:
    """`text` as a value of the annotated type: bool, int, float (also a/b), str, a choice, or None.

    Raises:
        InputError: it is not one.
    """
    choices = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null") and type(None) in choices:
            return None
        return parse_value(what, text, next(c for c in choices if c is not type(None)))
    if typing.get_origin(kind) is typing.Literal:
        if text not in choices:
            raise unknown(what, text, [str(c) for c in choices])
        return text
    if kind is float:
        return read_number(what, text)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is int:
            return int(text)
    except (ValueError, KeyError):
        raise InputError(f"{what} must be a {kind.__name__}, found {text!r}") from None
    if kind is str:
        return text
    raise InputError(f"{what} cannot be set from text (its type is {kind})")
