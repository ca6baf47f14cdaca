"""BOOT: at rest at the sampler of its own step, no data read, one call a sample, what its controls lose."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.noise import noise_data, pack, unpack
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.methods.diffusion.boot import BOOT
from understudy.models.diffusion import MixtureDenoiser, TimedMLP, ddim, kept_share, noised
from understudy.models.memo import Memo
from understudy.models.outputs import View
from understudy.sources.base import Cast
from understudy.sources.bootstrapped import EARLIER, NOISED, Bootstrapped
from understudy.testing import CHECKS, check_method
from understudy.training.loop import Task, fit
from understudy.training.player import Player
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

TEACHER = MixtureDenoiser([[1.5, 0.0], [-1.0, 1.0]], [0.1, 0.2], [0.6, 0.4])


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


def small(seed: int = 0) -> TimedMLP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TimedMLP(2, (32, 32))


class Sampler(nn.Module):
    """The teacher's DDIM in steps of delta from t_max down to each time asked for (a scale that is 1 may train)."""

    def __init__(self, delta: float, t_max: float) -> None:
        super().__init__()
        self.delta, self.t_max, self.scale = delta, t_max, nn.Parameter(torch.ones(()))

    def forward(self, packed: Tensor) -> Tensor:
        noise, time = unpack(packed)
        steps = int(((self.t_max - time).max() / self.delta).ceil()) + 1
        at = torch.full_like(time, self.t_max)
        y = TEACHER(pack(noise, at))
        for k in range(steps, -1, -1):
            after = torch.minimum(time + k * self.delta, at)
            w = kept_share(at, after)[:, None]
            y = w * y + (1 - w) * TEACHER(pack(noised(y, noise, at), at))
            at = after
        return self.scale * y


def shown(method: BOOT, student: nn.Module, rows: int = 200, seed: int = 0) -> tuple[us.Batch, Cast]:
    random = Randomness(seed)
    random.begin(0)
    cast = Cast(student, Memo(TEACHER))
    batch = us.Batch({"clean": torch.zeros(rows, 3)}, torch.arange(rows))
    return method.source(0, 1).show(batch, cast, random), cast


def fitted(method: us.Objective, folder: Path | None = None, stop: int = 0, **more: object) -> nn.Module:
    data = more.pop("data", noise_data((2,), examples=512))
    settings = TrainingSettings(
        **{"epochs": 10, "batch_size": 64, "lr": 5e-3, "device": "cpu", "threads": 1, **more}  # type: ignore[arg-type]
    )

    def tick(done: int, total: int, loss: float | None) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    task = Task(
        student=small(), teacher=TEACHER, objective=method, source=method.source(0, 1), data=data,
        settings=settings, taps={}, folder=folder, tick=tick,
    )  # fmt: skip
    student = small()
    student.load_state_dict(launch(settings, fit, task)[0])
    return student.eval()


def error(student: nn.Module) -> float:
    """Mean distance of one call from 100 steps of DDIM, noise by noise."""
    noise = unpack(noise_data((2,), "test", 500).stored)[0]
    with torch.no_grad():
        said = student(pack(noise, torch.zeros(len(noise))))
        return (said - ddim(TEACHER, noise, 100, 0.99)).norm(dim=1).mean().item()


@pytest.mark.parametrize("delta", [0.04, 0.3])
def test_the_sampler_of_its_own_step_is_at_rest(delta: float) -> None:
    """Whatever the step: both terms are 0, and so is the gradient."""
    method = BOOT(delta=delta)
    player = Player(
        Sampler(delta, 0.99), TEACHER, method, method.source(0, 1), TrainingSettings(optimizer="sgd")
    )
    random = Randomness(0)
    random.begin(0)
    with player:
        batch = us.Batch({"clean": torch.zeros(100, 3)}, torch.arange(100))
        shares = player.contribute(batch, 100, random)
        assert shares["boundary"] < 1e-10
        assert shares["bootstrap"] < 1e-6 / delta**2
        assert player.student.scale.grad.abs() < 1e-4 / delta**2
        batch, _ = shown(BOOT(delta=delta / 2), player.student)
        other = BOOT(delta=delta / 2)
        said = [us.Outputs({n: View(net(batch.views[n])) for n in names}) for net, names in (
            (player.student, ("clean", EARLIER)), (TEACHER, ("clean", NOISED)))]  # fmt: skip
        assert other.terms(*said, batch)["bootstrap"].mean() > 100 * shares["bootstrap"]


def test_where_the_teacher_always_says_the_same_a_constant_is_at_rest() -> None:
    class Same(nn.Module):
        def forward(self, packed: Tensor) -> Tensor:
            return torch.tensor([[2.0, -1.0]]).expand(len(packed), 2)

    method = BOOT()
    batch, _ = shown(method, Same())
    said = us.Outputs({name: View(Same()(view)) for name, view in batch.views.items()})
    for values in method.terms(said, said, batch).values():
        assert values.abs().max() < 1e-8


def test_what_the_source_shows() -> None:
    student = small()
    batch, _ = shown(BOOT(delta=0.1, t_max=0.9), student, rows=4000)
    noise, last = unpack(batch.clean)
    again, earlier = unpack(batch.views[EARLIER])
    point, time = unpack(batch.views[NOISED])
    assert torch.equal(noise, again)  # one noise for the start, the question and the noised answer
    assert (last == 0.9).all()
    assert 0 <= earlier.min() < 0.01
    assert 0.89 < earlier.max() <= 0.9
    torch.testing.assert_close(time, (earlier + 0.1).clamp(max=0.9))
    with torch.no_grad():
        y = student.eval()(pack(noise, time))
    torch.testing.assert_close(batch.notes["signal"], y)
    torch.testing.assert_close(point, noised(y, noise, time))
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_the_curriculum_lets_the_range_grow_down_to_zero() -> None:
    source, cast = Bootstrapped(0.1, 0.9, curriculum=0.5), Cast(small(), None)
    least = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        random = Randomness(0)
        random.begin(0)
        batch = us.Batch({"clean": torch.zeros(2000, 3)}, torch.arange(2000), progress=progress)
        least.append(source.show(batch, cast, random).notes["earlier"].min().item())
    assert least == pytest.approx([0.9, 0.45, 0.0, 0.0], abs=0.01)


def test_no_datum_is_read() -> None:
    """Sets that have nothing in common but their shape train the same student."""
    other = us.DataSet("ones", "train", torch.full((512, 3), 7.0), low=-9.0, high=9.0)
    one, two = fitted(BOOT(), epochs=2), fitted(BOOT(), epochs=2, data=other)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_micro_batches_see_the_same_noise() -> None:
    one, two = fitted(BOOT(), epochs=2), fitted(BOOT(), epochs=2, accumulate=4)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_training_resumed_goes_on(tmp_path: Path) -> None:
    straight = fitted(BOOT(curriculum=0.5), epochs=3)
    with pytest.raises(KeyboardInterrupt):
        fitted(BOOT(curriculum=0.5), epochs=3, folder=tmp_path, stop=11)
    resumed = fitted(BOOT(curriculum=0.5), epochs=3, folder=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_one_call_learns_to_say_what_a_hundred_steps_say() -> None:
    noise = unpack(noise_data((2,), "test", 500).stored)[0]
    target = ddim(TEACHER, noise, 100, 0.99)
    at_once = (TEACHER(pack(noise, torch.full((500,), 0.99))) - target).norm(dim=1).mean().item()
    assert error(fitted(BOOT(delta=0.1), epochs=40, lr=1e-2)) < 0.5 * at_once < 0.5 * error(small())


def test_the_target_holds_still_unless_it_is_told_not_to() -> None:
    """Without the stop-gradient the student's own answer is moved, too, through the teacher as well."""
    noise = torch.zeros(50, 3)
    found = []
    for held in (True, False):
        method = BOOT(beta=0.0, stop_gradient=held)
        player = Player(small(), TEACHER, method, method.source(0, 1), TrainingSettings(optimizer="sgd"))
        random = Randomness(0)
        random.begin(0)
        with player:
            player.contribute(us.Batch({"clean": noise}, torch.arange(50)), 50, random)
        found.append(torch.cat([p.grad.flatten() for p in player.student.parameters() if p.grad is not None]))
    assert not torch.allclose(found[0], found[1], rtol=0.1)


@pytest.mark.parametrize(
    "options", [{"step": "euler", "delta": "0.01"}, {"beta": "0"}, {"curriculum": "0.5"}]
)
def test_options_pass_the_battery(options: dict[str, str]) -> None:
    assert list(check_method(make_method("boot", options))) == list(CHECKS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_max": 1.0}, "t_max must be below 1"),
        ({"t_max": 0.0}, "t_max must be above 0"),
        ({"delta": 0.0}, "delta must be above 0"),
        ({"delta": 0.6, "t_max": 0.5}, "delta must be above 0 to 0.5"),
        ({"beta": -1.0}, "beta"),
        ({"curriculum": 1.5}, "curriculum"),
        ({"step": "ddmi"}, "unknown boot.step"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    text = {name: str(value) for name, value in options.items()}
    with pytest.raises(us.InputError, match=message):
        make_method("boot", text)


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(us.InputError, match="as many numbers as a point has: it says 3, points are"):
        shown(BOOT(), nn.Linear(3, 3))
    with pytest.raises(us.InputError, match="points with a time"):
        BOOT().source(0, 1).show(
            us.Batch({"clean": torch.zeros(4, 1)}, torch.arange(4)), Cast(small(), None), Randomness(0)
        )


def test_it_is_run_from_a_name(tmp_path: Path) -> None:
    run = us.distill(
        TEACHER, small(), "noise[2]", method="boot", epochs=1, examples=256, out=tmp_path / "run"
    )
    assert set(run.curves[-1]) >= {"loss_bootstrap", "loss_boundary", "distance", "cosine"}
    assert "agreement" not in run.curves[-1]
    assert run.student(pack(torch.randn(5, 2), torch.zeros(5))).shape == (5, 2)


def test_where_the_path_begins_is_forgotten_on_its_way() -> None:
    """For N(m, v) an error at t_max arrives at 0 times sqrt(v) a / s: why little is lost without the boundary term."""
    teacher, noise = MixtureDenoiser([[2.0]], [0.25]).double(), torch.tensor([[1.0]], dtype=torch.float64)
    times = torch.linspace(0.99, 0.0, 2001, dtype=torch.float64)
    ends = []
    for wrong in (0.0, 1.0):
        y = teacher(pack(noise, times[:1])) + wrong
        for t, s in zip(times[:-1, None], times[1:, None], strict=True):
            w = kept_share(t, s)[:, None]
            y = w * y + (1 - w) * teacher(pack(noised(y, noise, t), t))
        ends.append(y.item())
    a, s = torch.tensor(0.99 * torch.pi / 2).cos().item(), torch.tensor(0.99 * torch.pi / 2).sin().item()
    assert ends[1] - ends[0] == pytest.approx(0.5 * a / s, rel=0.05)
