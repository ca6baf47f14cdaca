"""Why does knowledge distillation work? (Guo, Zhong, Liu, Feng, Ma; arXiv 2405.00739, Expert Systems with Applications
262, 2025): two teachers trained with stronger augmentation look at different places; their student copies them less
and is right more often.

Teachers learn images shown weakly or strongly warped; a student learns from two of them, weak/weak, weak/strong or
strong/strong, and from the labels. What is read is the overlap of the two teachers' class activation maps, the
student's accuracy, and its fidelity to both (agreement, KL, Wasserstein's distance, mutual information). The same is
asked with long-tailed classes, with a strong view while distilling, with z-scored logits, and of vision transformers.
The paper varies augmentation, and overlap and accuracy move together. Here one thing is moved alone as well: a second
teacher whose maps are drawn to the first one's or driven from them by a term of its loss, at one augmentation.

Departures: small nets, trained from scratch for seconds, on a few digits; mild augmentations; teachers in eval mode
while they teach; the long-tailed set has about as many examples as the balanced one.
Measured (--quick, three seeds): in part, too few for most verdicts. Six seeds: from weak/weak to strong/strong teachers
the overlap falls from 0.59 to 0.52, agreement from 88.1 to 84.1 %, and accuracy from 87.3 to 85.2 %. Steered from 0.73
to 0.18, the overlap leaves accuracy (-0.4 points, -2.3 to 1.5) and agreement (0.0, -1.5 to 1.5) where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from understudy.experiments.base import Experiment, Metric, Result, Setting
from understudy.experiments.findings import Finding, judge, less
from understudy.experiments.parts.attention_looks import NAMES, alike, asked, looks
from understudy.experiments.parts.attention_pictures import against_overlap, gallery
from understudy.experiments.parts.attention_teachers import PAIRS, Ready, Sizes, Taught
from understudy.experiments.parts.attention_training import TeamKD
from understudy.jobs.training_job import run_training
from understudy.models.ensemble import Team
from understudy.report.markup import Markup

MARGIN = 0.01  # of agreement: a rise by less does not count as one
WEAK, MIXED, STRONG = PAIRS
WORDS = {  # for the parts of the claim
    "iou": "overlap of the teachers’ maps",
    "student_accuracy": "student’s accuracy",
    "agreement": "agreement",
    "information": "mutual information",
    "wasserstein": "Wasserstein distance",
}
# kinds of settings -> their axis, and what is changed in them
KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "long-tailed": ("long-tailed classes", {"world": "long-tailed"}),
    "strong view": ("strong view for student and teachers", {"view": "strong"}),
    "z-scored": ("z-scored logits", {"z_scored": True}),
    "transformers": ("transformers", {"transformer": True}),
}


class AttentionAndFidelity(Experiment[Sizes, Ready]):
    """Two teachers' augmentation, the overlap of their attention, their student's accuracy and fidelity."""

    name = "attention_and_fidelity"
    claim = (
        "Teachers that look at different places make a student that copies them less and is right more often"
    )
    paper = "Guo et al., Why does Knowledge Distillation Work?, arXiv 2405.00739"
    parts = (
        "A student learns from two teachers, trained with weak or strong augmentation. Attention is the overlap (IoU) "
        "of the two teachers’ class activation maps; less is more diverse. The paper says: from weak/weak to "
        "strong/strong teachers, overlap and fidelity fall and accuracy rises. To tell cause from company, a second "
        "teacher’s maps are also drawn to the first one’s, or driven apart, with all else the same."
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "student_accuracy": Metric("student’s accuracy"),
        "iou": Metric("overlap of the teachers’ maps", share=False),
        "iou_chance": Metric("the same between different images", share=False),
        "iou_student": Metric("overlap of student’s and teachers’ maps", share=False),
        "iou_energy": Metric("overlap of the teachers’ energy maps", share=False),
        "iou_code": Metric("overlap of the released code’s maps", share=False),
        "teacher_accuracy": Metric("both teachers’ accuracy"),
        "gap": Metric("accuracy on training less test images"),
        "agreement": Metric("agreement with both teachers"),
        "between": Metric("agreement between the teachers"),
        "kl": Metric("KL, nats", share=False),
        "wasserstein": Metric("Wasserstein distance", share=False),
        "information": Metric("mutual information of the answers, nats", share=False),
    }
    drawn = "student_accuracy"
    quick = Sizes(cost="3 to 4 minutes on one core")
    full = Sizes(
        seeds=(0, 1, 2, 3, 4),
        cost="about 2 days on one core, reckoned from its operations",
        data="fashion_mnist",
        side=28,
        per_class=300,
        head_class=1150,
        tested=5000,
        teacher="resnet20[16]",
        student="resnet8[16]",
        transformer="vit[4,96,4,4]",
        teacher_epochs=20,
        epochs=20,
        transformer_epochs=20,
        batch_size=64,
        lr=3e-3,
        transformer_lr=1e-3,
        every_pair=True,
        pictures=6,
    )

    def settings(self, scale: Sizes) -> list[Taught]:
        """Three pairs of teachers; the same with another world, view, loss or network; and steered teachers."""
        found = []
        for place, pair in enumerate(PAIRS):
            axes = {"balanced classes": "/".join(pair)}
            places = {"balanced classes": float(place), "z-scored logits": 2.0 * place}
            if pair != MIXED or scale.every_pair:
                axes["z-scored logits"] = f"{'/'.join(pair)}, as they are"
            if pair == WEAK:
                axes["maps steered"], places["maps steered"] = "as they come", 0.0
            found.append(Taught("/".join(pair), axes, places, pair))
        for kind, (axis, changed) in KINDS.items():
            for place, pair in enumerate(PAIRS):
                if pair != MIXED or scale.every_pair:
                    label = "/".join(pair) + (", z-scored" if kind == "z-scored" else "")
                    at = 2.0 * place + 1.0
                    found.append(Taught(_name(kind, pair), {axis: label}, {axis: at}, pair, **changed))
        for name, label, sign in (("apart", "driven apart", -1.0), ("together", "drawn together", 1.0)):
            axes, places = {"maps steered": label}, {"maps steered": sign}
            found.append(Taught(f"maps {name}", axes, places, WEAK, steered=sign * scale.steering))
        return found

    def prepare(self, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """The data, balanced and long-tailed; teachers follow when they are asked for."""
        return Ready.open(scale, seed, data_root, device)

    def measure(
        self, scale: Sizes, setting: Setting, seed: int, ready: Ready
    ) -> Mapping[str, float | Sequence[float]]:
        """Distil the student; its accuracy and fidelity, and the overlap of what the three look at."""
        assert isinstance(setting, Taught)
        one, two = ready.teachers(setting)
        method = TeamKD(
            shown=setting.view,
            temperature=scale.z_temperature if setting.z_scored else scale.temperature,
            alpha=scale.alpha,
            standardised=setting.z_scored,
        )
        request = replace(
            ready.request(setting, "distill", scale.student, scale.epochs),
            teacher=Team([one, two]),
            method=method,
        )
        student = run_training(request, **ready.where).student
        trio = dict(zip(NAMES, (one, two, student), strict=True))
        learned = ready.worlds[setting.world]
        return {
            **asked(trio, ready.test, learned),
            **alike(trio, ready.test, setting.transformer),
            **looks(trio, ready.test.take(scale.pictures), setting.transformer),
        }

    def judge(self, scale: Sizes, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Finding]:
        """What strong/strong changes; whether it does so elsewhere too; and whether overlap alone does."""

        def part(name: str, metric: str, one: str, other: str) -> Finding:
            said = f"{WORDS[metric]}: {_short(one)} less {_short(other)}"
            return judge(name, said, less(values, metric, one, other), self.metrics[metric].share)

        def over_pairs(metric: str) -> list[float]:
            """z-scored less not, the mean over the two pairs."""
            both = (less(values, metric, _name("z-scored", pair), "/".join(pair)) for pair in (WEAK, STRONG))
            return [sum(one) / 2 for one in zip(*both, strict=True)]

        weak, strong, all_strong = "/".join(WEAK), "/".join(STRONG), _name("strong view", STRONG)
        found = [
            part("attention", "iou", weak, strong),
            part("accuracy", "student_accuracy", strong, weak),
            part("agreement", "agreement", weak, strong),
            part("information", "information", weak, strong),
            part("Wasserstein", "wasserstein", strong, weak),
            part("all strong: accuracy", "student_accuracy", all_strong, weak),
            part("all strong: agreement", "agreement", weak, all_strong),
        ]
        for kind in ("long-tailed", "transformers"):
            one, other = _name(kind, WEAK), _name(kind, STRONG)
            found += [
                part(f"{kind}: attention", "iou", one, other),
                part(f"{kind}: accuracy", "student_accuracy", other, one),
                part(f"{kind}: agreement", "agreement", one, other),
            ]
        stays = [MARGIN - gain for gain in over_pairs("agreement")]
        return [
            *found,
            judge("z-scores: accuracy", "accuracy: z-scored less not", over_pairs("student_accuracy")),
            judge(
                "z-scores: no agreement gained", "agreement: not z-scored less z-scored, plus 1 point", stays
            ),
            part("steered: attention", "iou", "maps together", "maps apart"),
            part("steered: accuracy", "student_accuracy", "maps apart", "maps together"),
            part("steered: agreement", "agreement", "maps together", "maps apart"),
        ]

    def sections(self, scale: Sizes, settings: Sequence[Setting], result: Result) -> list[Markup]:
        """Accuracy and agreement against the overlap, and maps side by side."""
        there = {one.name for one in settings}
        weak, steered = "/".join(WEAK), ["maps apart", "maps together"]
        groups = {"balanced classes": ["/".join(pair) for pair in PAIRS], "maps steered": [weak, *steered]}
        groups |= {axis: [_name(kind, pair) for pair in PAIRS] for kind, (axis, _) in KINDS.items()}
        groups = {axis: [name for name in names if name in there] for axis, names in groups.items()}
        shown = [weak, "/".join(STRONG), *steered]
        return [against_overlap(groups, result), gallery(scale.side, scale.pictures, shown, result)]


def _short(name: str) -> str:
    """A setting's name without its kind where the part is named after that."""
    kind, _, rest = name.partition(", ")
    return rest if kind in ("long-tailed", "transformers") else name


def _name(kind: str, pair: Sequence[str]) -> str:
    return f"{kind}, {'/'.join(pair)}"
