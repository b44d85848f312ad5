"""A training that is killed at any moment goes on from its checkpoint and ends at the weights of one that never stopped."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guardrail.training.checkpoint import FILE, Checkpoints, remove
from guardrail.training.conduct import Conduct
from guardrail.vocabulary.errors import ArtifactError


class Stopped(Exception):
    pass


def kept(folder: Path, key: str = "k", *, monitor: bool = True) -> Conduct:
    return Conduct(monitor=monitor, checkpoints=Checkpoints(folder, key, seconds=0))


def killed_at(studio, step: int, folder: Path, kind, **changes) -> None:
    """Stops right after the checkpoint of this step."""
    conduct = kept(folder)

    class Killing(Checkpoints):
        def after_step(self, training, companions) -> None:
            super().after_step(training, companions)
            if training.step == step:
                raise Stopped

    with pytest.raises(Stopped):
        studio.fit(kind, conduct=Conduct(monitor=True, checkpoints=Killing(folder, conduct.checkpoints.key, seconds=0)), **changes)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_resuming_at_every_step_ends_at_the_same_weights(studio, tmp_path, optimizer):
    whole = studio.fit(optimizer=optimizer)
    for step in range(1, whole.outcome.steps + 1):
        folder = tmp_path / str(step)
        killed_at(studio, step, folder, studio.Noisy, optimizer=optimizer)
        resumed = studio.fit(conduct=kept(folder), optimizer=optimizer)
        assert torch.equal(resumed.weights, whole.weights)
        assert [p.step for p in resumed.history] == list(range(step + 1, whole.outcome.steps + 1))
        assert [p.loss for p in resumed.history] == [p.loss for p in whole.history[step:]]


def test_a_game_with_several_turns_of_the_critic_resumes(studio, tmp_path):
    class Eager(studio.Game):
        def __init__(self) -> None:
            super().__init__()
            self.critic.turns = 3

    whole = studio.fit(Eager, epochs=6)
    killed_at(studio, 5, tmp_path, Eager, epochs=6)
    resumed = studio.fit(Eager, conduct=kept(tmp_path), epochs=6)
    assert torch.equal(resumed.weights, whole.weights)
    assert resumed.outcome.monitor.losses["critic"][0][0] == 1  # what was seen before the kill is not forgotten


def test_a_training_that_was_over_is_not_trained_again(studio, tmp_path):
    done = studio.fit(conduct=kept(tmp_path))
    again = studio.fit(conduct=kept(tmp_path))
    assert again.history == [] and torch.equal(again.weights, done.weights)


def test_a_checkpoint_of_another_training_is_refused(studio, tmp_path):
    killed_at(studio, 2, tmp_path, studio.Noisy)
    with pytest.raises(ArtifactError, match="is of another training"):
        studio.fit(conduct=kept(tmp_path, "another"))


@pytest.mark.parametrize("damage", [b"", b"\x80\x04\x95pickle", None])
def test_a_damaged_checkpoint_is_refused_with_advice(studio, tmp_path, damage):
    killed_at(studio, 2, tmp_path, studio.Noisy)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(ArtifactError, match=r"delete .* to train from the start"):
        studio.fit(conduct=kept(tmp_path))


def test_a_checkpoint_that_does_not_fit_the_model_is_refused(studio, tmp_path):
    killed_at(studio, 2, tmp_path, studio.Noisy)
    with pytest.raises(ArtifactError, match="does not fit this model"):
        studio.fit(studio.Game, conduct=kept(tmp_path))


def test_a_kill_while_writing_leaves_the_checkpoint_before(studio, tmp_path, monkeypatch):
    killed_at(studio, 3, tmp_path, studio.Noisy)
    before = (tmp_path / FILE).read_bytes()

    def dies(self, target):
        raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Path, "replace", dies)
        studio.fit(conduct=kept(tmp_path))
    assert (tmp_path / FILE).read_bytes() == before
    assert torch.equal(studio.fit(conduct=kept(tmp_path)).weights, studio.fit().weights)


def test_it_is_one_safetensors_file_with_a_header_of_json(studio, tmp_path):
    killed_at(studio, 2, tmp_path, studio.Noisy)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    content = (tmp_path / FILE).read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert json.loads(header["__metadata__"]["guardrail"])["step"] == 2
    assert {"weights.asked", "average.0", "optimizer.noisy.0.exp_avg"} <= set(load_file(tmp_path / FILE))


def test_it_is_written_as_often_as_asked(studio, tmp_path):
    studio.fit(conduct=Conduct(monitor=False, checkpoints=Checkpoints(tmp_path, "k", seconds=3600)))
    assert not (tmp_path / FILE).exists()


def test_removing_takes_what_a_kill_left_half_written(tmp_path):
    """SIGKILL between the writing of the temporary sibling and its renaming."""
    (tmp_path / "kept").mkdir()
    for name in (FILE, f".{FILE}.x1y2z3"):
        (tmp_path / "kept" / name).touch()
    remove(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_removing_leaves_what_is_not_ours(tmp_path):
    for name in ("empty", "shared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).touch()
    (tmp_path / "shared" / "notes.txt").touch()
    for name in ("empty", "shared", "never there"):
        remove(tmp_path / name)
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["shared", "shared/notes.txt"]


CHILD = """
import sys
import torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, str(Path({here!r})))
from conftest import Studio
from guardrail.training.checkpoint import Checkpoints
from guardrail.training.conduct import Conduct
from safetensors.torch import save_file
folder = Path(sys.argv[1])
class Told(Checkpoints):
    def after_step(self, training, companions):
        print(training.step, flush=True)
        super().after_step(training, companions)
trained = Studio.fit(Studio.Game, conduct=Conduct(checkpoints=Told(folder / "kept", "k", seconds=0)), epochs=60)
save_file({{"weights": trained.weights}}, folder / "weights.safetensors")
"""


def test_killed_for_good_again_and_again_it_ends_at_the_same_weights(studio, tmp_path):
    """SIGKILL as soon as a step is announced: some die before its checkpoint, some while it is written, some after."""
    child = CHILD.format(here=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reached = 0
    for further in (7, 40):
        process = subprocess.Popen([sys.executable, "-c", child, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment)
        for line in process.stdout:
            if int(line) >= reached + further:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL and not (tmp_path / "weights.safetensors").exists()
        process.stdout.close()
        reached += further
    subprocess.run([sys.executable, "-c", child, str(tmp_path)], check=True, env=environment, stdout=subprocess.DEVNULL)
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["weights"], studio.fit(studio.Game, epochs=60).weights)
    shutil.rmtree(tmp_path / "kept")
