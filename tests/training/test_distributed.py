"""Two gloo processes against one: the same weights, one entry in the ledger, different draws."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guardrail.training.conduct import Conduct
from guardrail.training.distributed import ALONE, World, join, leads
from guardrail.vocabulary.errors import SpecError

CHILD = """
import json, os, sys, warnings
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from conftest import Studio
from safetensors.torch import save_file
from guardrail.training.checkpoint import Checkpoints
from guardrail.training.conduct import Conduct
from guardrail.training.distributed import join, leave, leads
from guardrail.vocabulary.errors import GuardrailError, SpecError
import test_fit
from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger

folder = Path(sys.argv[1])
world, device = join(torch.device("cpu"))
assert leads() == (world.rank == 0) and world.size == 2
told, tensors, facts = [], {{}}, {{}}
conduct = Conduct(world=world, monitor=True, tell=told.append, checkpoints=Checkpoints(folder / "kept", "k", 0, world))

quiet = Studio.fit(Studio.Quiet, conduct=conduct)
tensors["quiet"] = quiet.weights
facts["reported"] = len(quiet.history)
facts["watched"] = quiet.outcome.monitor is not None
facts["kept"] = (folder / "kept" / "checkpoint.safetensors").exists()
tensors["resumed"] = Studio.fit(Studio.Quiet, conduct=conduct).weights

tensors["few"] = Studio.fit(Studio.Quiet, conduct=Conduct(world=world, monitor=False), batch_size=1, epochs=1).weights
tensors["bounded"] = Studio.fit(Studio.Quiet, conduct=Conduct(world=world, monitor=False, micro_batch=3), max_norm=0.5).weights

draws = []
class Drawing(Studio.Noisy):
    def losses(self, batch):
        draws.append(torch.rand(()))
        return super().losses(batch)
tensors["noisy"] = Studio.fit(Drawing, conduct=Conduct(world=world, monitor=False)).weights
tensors["draws"] = torch.stack(draws)
tensors["game"] = Studio.fit(Studio.Game, conduct=Conduct(world=world, monitor=False), epochs=5).weights

try:
    world.same(7 + world.rank, "luck")
except SpecError as fault:
    facts["differ"] = str(fault)
try:
    world.agree(PermissionError("no budget") if world.leads else None)
except (PermissionError, GuardrailError) as fault:
    facts["refused"] = str(fault)

home = Home(folder / "home")
model = test_fit.trained(home, "plain", generator="vae")
facts["entries"] = len(Ledger(home).entries(test_fit.DATA)) if world.leads else None
facts["ledger"] = model.receipt.ledger
tensors["vae"] = torch.cat([p.detach().flatten() for p in model.generator.parameters()])
world.wait()

unwatched = Conduct(world=world, monitor=False)
calm = Studio.fit_privately(Studio.Calm, conduct=unwatched)
tensors["private"], facts["told"] = calm.weights, len(calm.history)
facts["counted"] = calm.outcome.privacy.records_public
secret = Studio.fit_privately(Studio.Calm, conduct=unwatched, noise="secure")
tensors["secret"], tensors["answer"] = secret.weights, torch.from_numpy(secret.outcome.counts._counts[0].copy())
game = Studio.fit_privately(Studio.Game, conduct=unwatched, noise="secure")
tensors["private game"], facts["canaries"] = game.weights, len(game.outcome.canaries)
claimed = test_fit.trained(home, "secure").receipt
facts["claimed"] = claimed.privacy.epsilon
facts["reserved"] = len(Ledger(home).summary(test_fit.DATA).groups) if world.leads else None
(folder / f"facts{{world.rank}}.json").write_text(json.dumps(facts))
save_file(tensors, folder / f"tensors{{world.rank}}.safetensors")
leave()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes found: facts and tensors of each."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = CHILD.format(here=str(Path(__file__).parent))
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen([sys.executable, "-c", child, str(folder)], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    facts = [json.loads((folder / f"facts{rank}.json").read_text()) for rank in range(2)]
    return facts, [load_file(folder / f"tensors{rank}.safetensors") for rank in range(2)]


def test_two_processes_learn_what_one_learns(studio, two):
    for tensors in two[1]:
        assert torch.allclose(tensors["quiet"], studio.fit(studio.Quiet).weights, atol=1e-5)
        bounded = studio.fit(studio.Quiet, max_norm=0.5).weights
        assert torch.allclose(tensors["bounded"], bounded, atol=1e-5)


def test_a_batch_smaller_than_the_world_leaves_a_process_without_records(studio, two):
    alone = studio.fit(studio.Quiet, batch_size=1, epochs=1)
    assert torch.allclose(two[1][0]["few"], alone.weights, atol=1e-5)


@pytest.mark.parametrize("training", ["quiet", "few", "noisy", "game", "vae", "resumed", "private", "secret", "private game"])
def test_both_end_at_the_same_weights(two, training):
    assert torch.equal(two[1][0][training], two[1][1][training])


def test_their_draws_differ(two):
    first, second = two[1][0]["draws"], two[1][1]["draws"]
    assert len(first) == len(second) and not (first == second).any()


def test_both_resume_where_the_leader_wrote(two):
    assert two[0][0]["kept"] and torch.equal(two[1][0]["resumed"], two[1][0]["quiet"])


def test_the_leader_alone_reports_watches_and_asks_the_ledger(two):
    leader, other = two[0]
    assert (leader["reported"], other["reported"]) == (12, 0)
    assert (leader["watched"], other["watched"]) == (True, False)
    assert leader["entries"] == 1 and leader["ledger"].endswith("/1") and other["ledger"] == ""


def test_what_the_leader_is_refused_stops_all(two):
    assert two[0][0]["refused"] == "no budget" and "process 0 was refused" in two[0][1]["refused"]


def test_processes_that_see_different_files_stop(two):
    assert all("the processes of this training differ in luck" in facts["differ"] for facts in two[0])


def test_a_private_training_is_that_of_one_process_with_noise_laid_once(studio, two):
    alone = studio.fit_privately(studio.Calm)
    assert torch.allclose(two[1][0]["private"], alone.weights, atol=1e-5)
    assert two[0][0]["counted"] == two[0][1]["counted"] == alone.outcome.privacy.records_public


def test_a_question_has_one_noisy_answer_in_all_processes(two):
    """Two, each with noise of its own, would be two releases for the price of one."""
    assert torch.equal(two[1][0]["answer"], two[1][1]["answer"])


def test_the_leader_alone_draws_canaries_reports_and_asks_for_epsilon(two):
    leader, other = two[0]
    assert leader["canaries"] > other["canaries"] and (leader["told"] > 0, other["told"]) == (True, 0)
    assert leader["claimed"] == other["claimed"] <= 2 and leader["reserved"] == 1


@pytest.mark.parametrize("n", [0, 1, 2, 7, 64])
def test_shares_are_whole_and_equal(n):
    for size in (1, 2, 3, 8):
        parts = [list(range(n))[World(rank, size).share(n)] for rank in range(size)]
        assert [i for part in parts for i in part] == list(range(n)) and max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_torchrun_there_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert join(torch.device("cpu")) == (ALONE, torch.device("cpu")) and leads()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not leads()
    with pytest.raises(SpecError, match="not on mps"):
        join(torch.device("mps"))
    assert Conduct().world == ALONE
