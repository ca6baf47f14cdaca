"""Claims: the fused head and divergence has a gradient error of at most 0.3 % in bfloat16, takes at least 10x less
memory than full logits at 32,000 classes and 4,096 tokens, and is at least 1.8x faster.

python benchmarks/fused_head.py [--peers FOLDER]

FOLDER may hold Liger-Kernel and TRL (`pip install --no-deps --target FOLDER liger-kernel trl`); what does not
import there is left out. Every arm computes the mean forward KL (or JSD) of a batch and the gradients in the
student's hidden states and head weight. Peak memory is the process's largest resident set while the step runs
(VmHWM, Linux only), less the set when the inputs existed and the arm had run on a few tokens, one fresh process
an arm: it counts everything, the gradients too. Seconds are processor time of the whole process, kernel included,
on one thread; next to them stand the four matrix products alone, which every arm with a live teacher has to do, so
that no arm can be faster than full logits by more than these leave room for.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import save
from torch import Tensor

from understudy.objectives.fused_head import Head, mean_head_divergence

CLASSES, TOKENS, WIDTH = 32_000, 4096, 512
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Sides = tuple[Tensor, Tensor, Tensor, Tensor]  # student's hidden states and weight, teacher's
Arm = Callable[[Sides, float], Tensor]


def ours(sides: Sides, beta: float) -> Tensor:
    """Forward KL at beta 0, reverse at 1, jsd between."""
    hidden, weight, *held = sides
    return mean_head_divergence(Head(*held), Head(hidden, weight), "jsd", beta, denominator=len(hidden))


def divide(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """The mean divergence of logits, as most people would write it."""
    log_q, log_p = F.log_softmax(student, -1), F.log_softmax(teacher, -1)

    def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
        return F.kl_div(log_b, log_a, reduction="batchmean", log_target=True)

    if beta in (0.0, 1.0):
        return kl(log_q, log_p) if beta else kl(log_p, log_q)
    share = torch.tensor(beta, dtype=log_p.dtype)
    log_m = torch.logsumexp(torch.stack((log_q + (1 - share).log(), log_p + share.log())), 0)
    return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)


def plain(sides: Sides, beta: float) -> Tensor:
    """Full logits in the type of the model, autograd."""
    hidden, weight, held, held_weight = sides
    with torch.no_grad():
        teacher = held @ held_weight.t()
    return divide(hidden @ weight.t(), teacher, beta)


def plain_wide(sides: Sides, beta: float) -> Tensor:
    """Full logits of the model's type, widened to float32 before the loss."""
    hidden, weight, held, held_weight = sides
    with torch.no_grad():
        teacher = (held @ held_weight.t()).float()
    return divide((hidden @ weight.t()).float(), teacher, beta)


def liger(sides: Sides, beta: float) -> Tensor:
    """Liger-Kernel's chunked loss, soft part only, not compiled."""
    module = importlib.import_module("liger_kernel.chunked_loss.jsd_loss")
    loss = module.LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False
    )
    value: Tensor = loss(*sides, torch.zeros(len(sides[0]), dtype=torch.long))
    return value


def trl(sides: Sides, beta: float) -> Tensor:
    """TRL's chunked divergence, its path without Triton."""
    module = importlib.import_module("trl.kernels.chunked_divergence")
    hidden, weight, held, held_weight = sides
    result = module.ChunkedDivergenceFunction.apply(hidden, weight, None, held, held_weight, None, beta)
    value: Tensor = result[0].mean()
    return value


ARMS: Mapping[str, Arm] = {"ours": ours, "plain": plain, "plain_wide": plain_wide, "liger": liger, "trl": trl}


def present() -> list[str]:
    """The arms that can run here."""
    modules = {"liger": "liger_kernel.chunked_loss.jsd_loss", "trl": "trl.kernels.chunked_divergence"}
    found = []
    for name in ARMS:
        try:
            importlib.import_module(modules.get(name, "torch"))
        except ImportError as error:
            print(f"{name} left out: {error}", file=sys.stderr)
        else:
            found.append(name)
    return found


def inputs(tokens: int, classes: int, width: int, kind: torch.dtype, near: float = 0.1) -> Sides:
    """A student whose hidden states and weight are a teacher's, moved by `near` of their size."""
    generator = torch.Generator().manual_seed(0)
    held = torch.randn(tokens, width, generator=generator)
    held_weight = torch.randn(classes, width, generator=generator) * (3 / width**0.5)  # logits of deviation 3
    hidden = held + near * torch.randn(tokens, width, generator=generator)
    weight = held_weight + near * 3 / width**0.5 * torch.randn(classes, width, generator=generator)
    return (
        hidden.to(kind).requires_grad_(),
        weight.to(kind).requires_grad_(),
        held.to(kind),
        held_weight.to(kind),
    )


def step(arm: Arm, sides: Sides, beta: float = 0.0) -> None:
    """Loss and gradients, which are dropped."""
    arm(sides, beta).backward()
    sides[0].grad = sides[1].grad = None


def gradient_errors(arms: list[str], beta: float) -> dict[str, dict[str, float]]:
    """Per arm, in bfloat16: the loss, and the relative error of both gradients against float64, in percent."""
    sides = inputs(128, 8000, 256, torch.bfloat16)
    exact = tuple(side.detach().double() for side in sides)
    right = tuple(side.requires_grad_() for side in exact[:2])
    truth = plain((right[0], right[1], exact[2], exact[3]), beta)
    expected = torch.autograd.grad(truth, right)
    found: dict[str, dict[str, float]] = {"float64": {"loss": round(truth.item(), 6)}}
    for name in arms:
        value = ARMS[name](sides, beta)
        gradients = torch.autograd.grad(value, sides[:2])
        errors = [
            100 * float((a.double() - b).norm() / b.norm()) for a, b in zip(gradients, expected, strict=True)
        ]
        found[name] = {
            "loss": round(value.item(), 6),
            "hidden_percent": round(errors[0], 3),
            "weight_percent": round(errors[1], 3),
        }
    return found


def peak(name: str) -> float:
    """This process's peak memory over one step in float32, in MB."""
    arm, sides = ARMS[name], inputs(TOKENS, CLASSES, WIDTH, torch.float32)
    few = inputs(8, 64, WIDTH, torch.float32)
    step(arm, few)

    def kilobytes(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest is counted from here on
    step(arm, sides)
    return (kilobytes("VmHWM") - before) / 1024


def products(sides: Sides) -> None:
    """The two heads forward, and the two products of the student's backward pass."""
    hidden, weight, held, held_weight = (side.detach() for side in sides)
    slope = hidden @ weight.t()
    held @ held_weight.t()
    slope @ weight
    slope.t() @ hidden


def times(arms: list[str], kind: str, beta: float, tokens: int, rounds: int) -> dict[str, Any]:
    """Median seconds of each arm and how many times ours is faster, round by round: A B C, A B C, the first dropped."""
    sides = inputs(tokens, CLASSES, WIDTH, TYPES[kind])
    runs: dict[str, Callable[[], object]] = {name: lambda n=name: step(ARMS[n], sides, beta) for name in arms}  # type: ignore[misc]
    runs["products alone"] = lambda: products(sides)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if number:
                seconds[name].append(time.process_time() - began)
    found: dict[str, Any] = {"tokens": tokens, "rounds": rounds}
    for name, spent in seconds.items():
        ratios = [other / own for other, own in zip(spent, seconds["ours"], strict=True)]
        found[name] = {
            "seconds": round(statistics.median(spent), 3),
            "ours_is_faster": round(statistics.median(ratios), 3),
            "range": [round(min(ratios), 3), round(max(ratios), 3)],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="a folder with Liger-Kernel and TRL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", metavar="ARM", choices=ARMS, help="only print one arm's peak memory in MB")
    options = parser.parse_args()
    if options.peers:
        sys.path.append(options.peers)  # after what is installed, so that torch stays the one it is
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak))
        return
    arms = present()
    again = [sys.executable, __file__, *(["--peers", options.peers] if options.peers else [])]
    narrow = [name for name in arms if name != "plain_wide"]  # in float32 it is plain
    memory = {}
    for name in narrow:
        command = [*again, "--peak", name]
        memory[name] = round(float(subprocess.run(command, check=True, capture_output=True).stdout))
    save(
        "fused_head",
        {
            "claim": "ours / full logits: gradient error in bfloat16, peak memory, time",
            "target": {"gradient_error_percent": 0.3, "times_less_memory": 10, "times_faster": 1.8},
            "setting": f"{CLASSES} classes, width {WIDTH}, one thread; memory: forward KL, {TOKENS} tokens; gradient "
            "errors: 128 tokens, 8000 classes, width 256, a student near its teacher, beta as in GKD",
            "gradient_error": {f"beta {beta}": gradient_errors(arms, beta) for beta in (0.0, 0.5, 1.0)},
            "peak_mb_float32": memory,
            "times_less_memory_than_plain": round(memory["plain"] / memory["ours"], 1),
            "time_forward_kl_float32": times(narrow, "float32", 0.0, TOKENS // 2, options.rounds),
            "time_jsd_float32": times(["ours", "plain"], "float32", 0.5, TOKENS // 2, options.rounds),
            "time_forward_kl_bfloat16": times(arms, "bfloat16", 0.0, TOKENS // 64, options.rounds),
            "peers": {
                module: importlib.metadata.version(module)
                for module in ("liger_kernel", "trl")
                if importlib.util.find_spec(module)
            },
        },
    )


if __name__ == "__main__":
    main()
