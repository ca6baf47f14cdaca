"""One call instead of a hundred: a student of a diffusion model that never sees a datum.

BOOT (arXiv 2306.05544) on a mixture of three Gaussians in the plane, whose denoiser is known in closed form. Prints, of
4,000 fresh noises, how far one call of the student lies from 100 steps of the teacher's sampler, the samples' standard
deviation and the share of each Gaussian; then the same without the boundary term and without the stop-gradient.

    python examples/boot.py
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import understudy as us
from understudy.data.noise import noise_data, pack, unpack
from understudy.methods.diffusion.boot import BOOT
from understudy.models.diffusion import MixtureDenoiser, TimedMLP, ddim

PLACES = [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]]
TEACHER = MixtureDenoiser(PLACES, variances=[0.05, 0.1, 0.05], shares=[0.5, 0.3, 0.2])
METHODS = {
    "BOOT": BOOT(),
    "no boundary term": BOOT(beta=0.0),
    "no stop-gradient": BOOT(stop_gradient=False),
}


def report(name: str, samples: Tensor, wanted: Tensor) -> None:
    """One line of figures."""
    apart = (samples - wanted).norm(dim=1)
    near = torch.cdist(samples, torch.tensor(PLACES)).argmin(1)
    shares = ", ".join(f"{(near == k).double().mean():.3f}" for k in range(3))
    spread = ", ".join(f"{s:.2f}" for s in samples.std(0))
    print(
        f"  {name:17} off by {apart.mean():.3f} (median {apart.median():.3f}), std {spread}, shares {shares}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--noises", type=int, default=4000, help="to measure with")
    args = parser.parse_args()
    noise = unpack(noise_data((2,), "test", args.noises).inputs(slice(None)))[0]
    wanted = ddim(TEACHER, noise, 100, 0.99)
    for steps in (100, 5, 1):
        report(f"teacher, {steps} steps", ddim(TEACHER, noise, steps, 0.99), wanted)
    for seed in range(args.seeds):
        print(f"seed {seed}")
        for name, method in METHODS.items():
            torch.manual_seed(seed)
            student = us.distill(
                TEACHER,
                TimedMLP(2),
                "noise[2]",
                method=method,
                epochs=args.epochs,
                batch_size=256,
                lr=5e-3,
                seed=seed,
            ).student
            with torch.no_grad():
                report(name, student(pack(noise, torch.zeros(len(noise)))), wanted)


if __name__ == "__main__":
    main()
