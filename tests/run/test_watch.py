"""What is kept while a training runs: a killed one goes on to the same weights, and nothing of it is left when it is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

ROUNDS = {"epochs": 12, "batch_size": 40, "device": "cpu"}


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "GUARDRAIL_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}


def weights(folder: Path) -> dict[str, object]:
    (run,) = [path for path in (folder / "runs").iterdir() if not path.name.startswith(".")]
    return {name: value.tolist() for name, value in load_file(run / "weights.safetensors").items()}


def test_a_killed_training_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path, clinic):
    """SIGKILL leaves no time to save anything: what goes on was on disk before."""
    spec = clinic.spec(
        generator={"name": "made", "options": {"hidden": [16]}}, training={**ROUNDS, "checkpoint_seconds": 0}, data={"holdout": 0}
    )
    command = [sys.executable, "-m", "guardrail", "train", spec]
    started = subprocess.Popen(
        command, cwd=clinic.folder, env=environment(clinic.folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (found := list(clinic.folder.glob("runs/.checkpoints/*/checkpoint.safetensors"))) and started.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if started.poll() is None:
        os.kill(started.pid, signal.SIGKILL)
    started.wait()
    if not found:
        pytest.skip("this machine finished the training before it could be killed")
    again = subprocess.run(command, cwd=clinic.folder, env=environment(clinic.folder), capture_output=True, text=True, check=True)
    assert "going on from where" in again.stderr
    killed = weights(clinic.folder)
    assert not list(clinic.folder.glob("runs/.checkpoints/*"))

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    for name in ("visits.csv", "schema.yaml", "policy.yaml", "card.yaml", "spec.yaml"):
        (undisturbed / name).write_bytes((clinic.folder / name).read_bytes())
    home = {**environment(undisturbed), "GUARDRAIL_HOME": str(clinic.folder / "home")}  # the fingerprint's key is the home's
    subprocess.run(command, cwd=undisturbed, env=home, capture_output=True, check=True)
    assert weights(undisturbed) == killed


def test_a_private_training_leaves_no_checkpoint_while_it_runs(clinic, monkeypatch: pytest.MonkeyPatch):
    import guardrail.run.pipeline as pipeline

    seen: list[object] = []
    trained = pipeline.train
    monkeypatch.setattr(pipeline, "train", lambda *a, **k: seen.append(k["checkpoint"]) or trained(*a, **k))
    said = clinic("train", clinic.spec(training={"epochs": 1}, privacy={"epsilon": 3, "records": 500}))
    assert said.code == 0, said.err
    assert seen == [None]


def test_the_log_tells_the_monitor_s_measurements_and_none_under_privacy(clinic):
    said = clinic("train", clinic.spec(generator={"name": "made", "options": {"hidden": [16]}}, training=ROUNDS), "--json")
    run = Path(clinic.folder / said.object["path"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all({"step", "loss", "seconds"} <= set(line) for line in lines) and (run / "monitor.json").is_file()
    private = clinic(
        "train",
        clinic.spec(
            generator={"name": "made", "options": {"hidden": [16]}}, training={"epochs": 1}, privacy={"epsilon": 3, "records": 500}
        ),
        "--json",
    )
    run = Path(clinic.folder / private.object["path"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(set(line) == {"step", "loss", "epsilon"} and line["loss"] is None for line in lines)
    assert not (run / "monitor.json").exists()
