"""`Scene`: made-up answers of two models to one batch, in any precision, for asking an objective about them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from understudy.data.batch import CLEAN, Batch
from understudy.data.dataset import edges_among
from understudy.models.outputs import Outputs, View
from understudy.objectives.base import Needs, Objective
from understudy.testing.models import TINY_SHAPE
from understudy.testing.tokens import token_rows, token_size

Views = Mapping[str, View]


def hold(condition: bool | Tensor, message: str) -> None:
    """AssertionError with `message` unless the condition holds (unlike `assert`, also under `python -O`)."""
    if not condition:
        raise AssertionError(message)


@dataclass(frozen=True, eq=False)
class Scene:
    """Student's and teacher's answers by view, labels (B,) or None, and how far the training is.

    Attributes:
        base: answers of one function to every view that either model is asked about.
        past: what the objective noted of each example when it was last seen.
        auxiliary: the objective's own networks, in eval mode (batch norm would relate the examples).
        index: each example's row in its data set; their order if None.
        notes: what the objective's source would note of each example.
        partners: the other players' networks, in eval mode.
        edges: (2, E) of a graph whose nodes the examples are.
        tokens, masks: of text, by view: what was read, and which positions count.
        linked: whether the logits follow from the features, by one function that keeps its graph.
    """

    student: Views
    teacher: Views
    labels: Tensor | None
    progress: float
    base: Views
    past: Mapping[str, Tensor] = field(default_factory=dict)
    auxiliary: nn.Module | None = None
    index: Tensor | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    partners: Mapping[str, nn.Module] = field(default_factory=dict)
    edges: Tensor | None = None
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    linked: bool = False

    @property
    def rows(self) -> int:
        """How many examples."""
        return len(next(iter(self.student.values())).logits)

    @property
    def _index(self) -> Tensor:
        return torch.arange(self.rows) if self.index is None else self.index

    def arguments(self) -> tuple[Outputs, Outputs, Batch]:
        """What an objective's `terms` is called with."""
        count = self.rows
        inputs = torch.full((count, *TINY_SHAPE), 0.5)
        views = dict.fromkeys({CLEAN, *self.student, *self.teacher}, inputs)
        views.update(self.tokens)
        batch = Batch(
            views, self._index, self.labels, self.progress, past=self.past, auxiliary=self.auxiliary,
            notes=self.notes, partners=self.partners, edges=self.edges, masks=self.masks,
        )  # fmt: skip
        if not self.linked:
            return Outputs(self.student), Outputs(self.teacher), batch
        return Outputs(_linked(self.student)), Outputs(_linked(self.teacher)), batch

    def terms(self, objective: Objective) -> dict[str, Tensor]:
        """What the objective makes of it, checked to be one float an example."""
        terms = objective.terms(*self.arguments())
        hold(isinstance(terms, Mapping), f"terms must be a dict of named tensors, found {terms!r}")
        hold(len(terms) > 0, "terms must hold at least one named tensor, found none")
        for name, values in terms.items():
            hold(isinstance(values, Tensor), f"term {name!r} must be a tensor, found {type(values).__name__}")
            hold(
                values.shape == (self.rows,) and values.is_floating_point(),
                f"term {name!r} must hold one float an example ({self.rows},), without reduction; "
                f"found {values.dtype} of shape {tuple(values.shape)}",
            )
        return dict(terms)

    def map(self, change: Callable[[Tensor], Tensor]) -> Scene:
        """The same scene with every answer changed."""
        return replace(
            self,
            student=map_views(self.student, change),
            teacher=map_views(self.teacher, change),
            base=map_views(self.base, change),
            past={name: change(rows) for name, rows in self.past.items()},
            notes={n: change(x) if x.is_floating_point() else x for n, x in self.notes.items()},
        )

    def to(self, dtype: torch.dtype) -> Scene:
        """The same scene in another precision; the objective's own networks have at least float32."""
        wide = torch.promote_types(dtype, torch.float32)
        own = None if self.auxiliary is None else copy.deepcopy(self.auxiliary).to(wide)
        partners = {name: copy.deepcopy(net).to(wide) for name, net in self.partners.items()}
        return replace(self.map(lambda answer: answer.to(dtype)), auxiliary=own, partners=partners)

    def select(self, rows: Tensor | slice) -> Scene:
        """Some of its examples, in the order given."""
        chosen = self.map(lambda answer: answer[rows])
        labels = None if self.labels is None else self.labels[rows]
        notes = {name: x[rows] for name, x in self.notes.items()}
        kept = torch.arange(self.rows)[rows]
        edges = None if self.edges is None else edges_among(self.edges, kept, self.rows)
        tokens, masks = ({n: x[rows] for n, x in side.items()} for side in (self.tokens, self.masks))
        chosen = replace(chosen, tokens=tokens, masks=masks)
        return replace(chosen, labels=labels, index=self._index[rows], notes=notes, edges=edges)

    def equal(self) -> Scene:
        """The scene in which student and teacher are one function, whose answers differ from view to view."""
        return replace(
            self,
            student={name: _of_one_mind(self.base[name], view) for name, view in self.student.items()},
            teacher={name: self.base[name] for name in self.teacher},
        )

    def equal_views(self) -> Scene:
        """The scene in which they are one function, and every view is the same."""
        one = next(iter(self.base.values()))
        tokens, masks = (
            {name: next(iter(side.values())) for name in side} for side in (self.tokens, self.masks)
        )
        scene = replace(self, tokens=tokens, masks=masks)
        return replace(
            scene, student=dict.fromkeys(self.student, one), teacher=dict.fromkeys(self.teacher, one)
        )


def make_scene(
    needs: Needs,
    classes: int,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    rows: int = 6,
    seed: int = 0,
    scale: float = 2.0,
    progress: float = 0.9,
) -> Scene:
    """Random answers in float64: logits of standard deviation `scale`, features (B, *shape) of 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=generator, dtype=torch.float64)

    heads = ("0", "1", "2") if "*" in needs.heads else needs.heads

    def views(
        names: tuple[str, ...], features: Iterable[str], heads: tuple[str, ...] = ()
    ) -> dict[str, View]:
        return {
            n: View(
                scale * normal(*(token_size(needs, n, classes) if needs.tokens else (classes,))),
                {f: normal(*shapes[f]) for f in features},
                {h: scale * normal(classes) for h in heads},
            )
            for n in names
        }

    labels = draw_labels(needs, classes, rows, generator)
    every = tuple(dict.fromkeys((*needs.student, *needs.teacher)))
    both = tuple(dict.fromkeys((*heads, *needs.own_heads)))
    student = views(needs.student, shapes, needs.own_heads)
    teacher = views(needs.teacher, needs.features, heads)
    scene = Scene(student, teacher, labels, progress, views(every, shapes, both), linked=needs.teacher_grad)
    if needs.tokens:
        tokens, masks = token_rows(needs, classes, rows, generator)
        return replace(scene, labels=None, tokens=tokens, masks=masks)
    return replace(scene, edges=ring(rows)) if needs.edges else scene


def ring(nodes: int) -> Tensor:
    """Both directions of a ring through all nodes but the last, which stays alone: (2, E); no edge below 3 nodes."""
    one = torch.arange(nodes - 1 if nodes > 2 else 0)
    other = one.roll(-1)
    return torch.stack((torch.cat((one, other)), torch.cat((other, one))))


def draw_labels(needs: Needs, classes: int, rows: int, generator: torch.Generator) -> Tensor | None:
    """Labels as the objective needs them: one an example (B,), several (B, C), or none."""
    if not needs.labels:
        return None
    if needs.multi_label:
        return torch.randint(2, (rows, classes), generator=generator)
    return torch.randint(classes, (rows,), generator=generator)


def _linked(views: Views) -> dict[str, View]:
    """Views whose logits have the features in them, added up by fixed weights, with the graph between the two."""

    def one(view: View) -> View:
        features = {
            f: x if x.requires_grad else x.detach().requires_grad_() for f, x in view.features.items()
        }
        logits = view.logits
        for x in features.values():
            flat = x.flatten(1)
            generator = torch.Generator().manual_seed(flat.shape[1])
            weights = torch.randn(flat.shape[1], logits.shape[1], generator=generator, dtype=torch.float64)
            logits = logits + (torch.tanh(flat) @ weights.to(flat)).to(logits) / flat.shape[1] ** 0.5
        return View(logits, features, view.heads)

    return {name: one(view) for name, view in views.items()}


def _of_one_mind(view: View, like: View) -> View:
    """The view as a student gives it all of whose heads, those of `like`, say the same."""
    return View(view.logits, view.features, dict.fromkeys(like.heads, view.logits))


def map_views(views: Views, change: Callable[[Tensor], Tensor]) -> dict[str, View]:
    """Views with every answer changed."""
    return {
        name: View(
            change(view.logits),
            {f: change(value) for f, value in view.features.items()},
            {h: change(value) for h, value in view.heads.items()},
        )
        for name, view in views.items()
    }


def leaves(views: Views) -> dict[str, Tensor]:
    """Every answer under a readable name: "attacked.logits", "clean.features['mid']"."""
    found = {}
    for name, view in views.items():
        found[f"{name}.logits"] = view.logits
        found.update({f"{name}.features[{f!r}]": value for f, value in view.features.items()})
        found.update({f"{name}.heads[{h!r}]": value for h, value in view.heads.items()})
    return found


def with_gradient(scene: Scene) -> Scene:
    """The scene with the student's answers as fresh leaves that ask for a gradient."""
    return replace(scene, student=map_views(scene.student, lambda x: x.detach().clone().requires_grad_(True)))
