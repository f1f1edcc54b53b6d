"""The training loop: exact resume, stopping, curves, whole files."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.core.files import read_csv
from kpbe.errors import BadCheckpoint, KPBEError
from kpbe.params import OptimiserParams, ScheduleParams
from kpbe.training.files import CURVES_FILE, PREVIOUS_STATE_FILE, STATE_FILE
from kpbe.training.loop import train
from kpbe.training.optimisers import adam, scheduled_lr


class LineFit:
    """A tiny trainee: fits y = 3x by Adam on batches that depend on the step only."""

    def __init__(self, kill_at: int | None = None, signal_number: int = signal.SIGTERM):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.optimiser = adam(self.network.parameters(), OptimiserParams(lr=0.05))
        self.kill_at, self.signal_number = kill_at, signal_number

    def parts(self):
        return {"network": self.network, "optimiser": self.optimiser}

    def step(self, step: int) -> dict[str, float]:
        if step == self.kill_at:
            os.kill(os.getpid(), self.signal_number)
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        loss = (self.network(x) - 3 * x).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss.item()}

    def validate(self):
        return {"slope": self.network.weight.item()}, np.zeros((4, 4, 3), np.uint8)

    def export(self, folder: Path) -> None:
        torch.save(self.network.state_dict(), folder / "line.pt")


def schedule(**changes) -> ScheduleParams:
    return ScheduleParams(
        **{"steps": 40, "batch_size": 8, "checkpoint_every": 10, "sheet_every": 10, "log_every": 5} | changes
    )


def weights(trainee: LineFit) -> list[float]:
    return [trainee.network.weight.item(), trainee.network.bias.item()]


def test_stopped_by_sigterm_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole = LineFit()
    train("whole", whole, schedule(), tmp_path / "whole", "same", {})
    with pytest.raises(KPBEError, match="at step 24: run it again"):
        train("parts", LineFit(kill_at=23), schedule(), tmp_path / "parts", "same", {})
    resumed = LineFit()
    train("parts", resumed, schedule(), tmp_path / "parts", "same", {})
    assert weights(resumed) == weights(whole)
    assert read_csv(tmp_path / "parts" / CURVES_FILE) == read_csv(tmp_path / "whole" / CURVES_FILE)


def test_killed_outright_goes_on_from_the_last_checkpoint(tmp_path):
    whole = LineFit()
    train("whole", whole, schedule(), tmp_path / "whole", "same", {})
    pid = os.fork()
    if pid == 0:
        train(
            "parts",
            LineFit(kill_at=27, signal_number=signal.SIGKILL),
            schedule(),
            tmp_path / "parts",
            "same",
            {},
        )
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert torch.load(tmp_path / "parts" / STATE_FILE, weights_only=True)["progress"]["step"] == 20
    resumed = LineFit()
    train("parts", resumed, schedule(), tmp_path / "parts", "same", {})
    assert weights(resumed) == weights(whole)


def test_other_data_or_params_start_anew(tmp_path, capsys):
    train("a", LineFit(), schedule(steps=10), tmp_path, "first", {})
    again = LineFit()
    train("a", again, schedule(steps=5), tmp_path, "second", {})
    assert [sheet.stem for sheet in (tmp_path / "sheets").iterdir()] == ["0000005"], (
        "no sheet of the old training"
    )
    train("a", again, schedule(steps=10), tmp_path, "second", {})
    fresh = LineFit()
    train("a", fresh, schedule(steps=10), tmp_path / "fresh", "second", {})
    assert "starting anew" in capsys.readouterr().out
    assert weights(again) == weights(fresh)


def test_more_steps_continue_a_finished_training(tmp_path):
    train("a", LineFit(), schedule(steps=20), tmp_path / "a", "same", {})
    longer = LineFit()
    train("a", longer, schedule(steps=40), tmp_path / "a", "same", {})
    whole = LineFit()
    train("b", whole, schedule(steps=40), tmp_path / "b", "same", {})
    assert weights(longer) == weights(whole)


@pytest.mark.parametrize("steps", [0, 15])
def test_fewer_steps_than_an_earlier_training_made_start_anew(tmp_path, steps):
    train("line", LineFit(), schedule(), tmp_path, "same", {})
    fewer, afresh = LineFit(), LineFit()
    train("line", fewer, schedule(steps=steps), tmp_path, "same", {})
    train("line", afresh, schedule(steps=steps), tmp_path / "elsewhere", "same", {})
    assert weights(fewer) == weights(afresh)
    assert torch.load(tmp_path / "line.pt")["weight"].item() == fewer.network.weight.item()


def test_a_state_that_is_not_continued_stays_until_the_new_training_is_done(tmp_path):
    train("line", LineFit(), schedule(), tmp_path, "one", {})
    with pytest.raises(KPBEError, match="told to stop at step 12"):
        train("line", LineFit(kill_at=11), schedule(), tmp_path, "another", {})
    kept = tmp_path / PREVIOUS_STATE_FILE
    assert torch.load(kept, weights_only=True)["progress"]["identity"] == "one"
    train("line", LineFit(), schedule(), tmp_path, "another", {})
    assert not kept.exists()


def test_time_budget_ends_training_and_is_said_in_the_summary(tmp_path):
    train("a", LineFit(), schedule(steps=10**9, time_budget_s=0.3), tmp_path, "same", {"note": "x"})
    summary = (tmp_path / "summary.json").read_text()
    assert '"stopped_by_time_budget": true' in summary and '"note": "x"' in summary
    assert (tmp_path / "line.pt").exists()


def test_the_summary_tells_the_metrics_of_the_last_step(tmp_path):
    trainee = LineFit()
    train("a", trainee, schedule(steps=15), tmp_path, "same", {})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 15 and summary["slope"] == trainee.network.weight.item()
    rows = read_csv(tmp_path / CURVES_FILE)
    assert [row["step"] for row in rows] == ["5", "10", "15"]
    assert rows[-1]["loss"] and rows[-1]["slope"]


def test_not_finite_loss_stops_and_keeps_the_last_good_state(tmp_path):
    class Diverges(LineFit):
        def step(self, step):
            return {"loss": float("nan")} if step == 15 else super().step(step)

    with pytest.raises(KPBEError, match=r"loss is not finite at step 15; .* of step 10: copy the weights"):
        train("a", Diverges(), schedule(), tmp_path, "same", {})
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    assert state["progress"]["step"] == 10
    assert torch.load(tmp_path / "line.pt")["weight"] == state["parts"]["network"]["weight"]
    with pytest.raises(KPBEError, match="before the first checkpoint"):
        train("a", Diverges(), schedule(checkpoint_every=100), tmp_path / "early", "same", {})


def test_damaged_state_is_refused_with_advice(tmp_path):
    (tmp_path / STATE_FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(BadCheckpoint, match="delete it to start anew"):
        train("a", LineFit(), schedule(), tmp_path, "same", {})


def test_learning_rate_drops_at_milestones():
    params = OptimiserParams(lr=1e-3, milestones=(10, 20))
    assert [scheduled_lr(params, step) for step in (0, 9, 10, 19, 20)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    )


def test_the_progress_line_tells_speed_time_left_and_every_loss(tmp_path, capsys):
    fit = LineFit()
    train("line", fit, schedule(time_budget_s=3600), tmp_path, "id", {})
    line = capsys.readouterr().err
    assert re.search(r"line: 100%.* 40/40 .*samples/s, budget 59:5\d, loss=[\d.e-]+, slope=", line)
