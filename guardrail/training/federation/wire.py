"""A federation's messages on Flower: what is asked, what is answered, and the client's side as a Flower app.

Arrays travel as arrays and everything else as JSON: nothing that comes over a wire is unpickled.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

# Before Flower is imported, which reads them then: it reports to nobody, looks for no newer version.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from ...vocabulary.canaries import CanaryRecords
from ...vocabulary.documents import parse_json
from ...vocabulary.errors import ArtifactError, BudgetExceeded, FederationFailed, GuardrailError, PrivacyRefused, SpecError, Unsupported
from ...vocabulary.frozen import parse
from ..strategy import Dataset
from .client import Client, Reserve, Update
from .counts import unflattened
from .job import Job
from .learning import Arrays
from .masks import PublicKeys
from .state import ClientFile, Memory, digest

ARRAYS, FACTS, MEMORY = "arrays", "facts", "guardrail"
HELLO, COUNT, TRAIN, CANARIES, EVALUATE = "query.hello", "query.count", "train", "query.canaries", "evaluate"
SPEAKING = (ArtifactError, BudgetExceeded, FederationFailed, PrivacyRefused, SpecError, Unsupported)
LOG = "guardrail: "
"""Begins what a client says in its own log."""
MOST_TEXT = 64 * 2**20
"""Bytes of JSON in a message, at most."""


@dataclass(frozen=True)
class Reply:
    """A client's answer, looked at as data and no further."""

    arrays: Arrays = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    """Why there is none."""


def record_of(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def content(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> RecordDict:
    return RecordDict({ARRAYS: record_of(arrays), FACTS: ConfigRecord({"json": json.dumps(facts, allow_nan=False)})})


def read(records: RecordDict) -> tuple[Arrays, dict[str, Any]]:
    """Raises ArtifactError where this is no message of ours."""
    arrays, facts = records.get(ARRAYS), records.get(FACTS)
    text = facts.get("json") if isinstance(facts, ConfigRecord) else None
    if not isinstance(arrays, ArrayRecord) or not isinstance(text, str) or len(text) > MOST_TEXT:
        raise ArtifactError("a message that is not guardrail's, or of another version")
    said = parse_json(text, where="a message", error=ArtifactError)
    if not isinstance(said, dict):
        raise ArtifactError("a message without facts")
    try:
        return {name: array.numpy() for name, array in arrays.items()}, said
    except (TypeError, ValueError) as fault:
        raise ArtifactError(f"a message whose arrays cannot be read: {fault}") from None


def reply_of(message: Message) -> Reply:
    if message.has_error():
        return Reply(refused=f"failed: {message.error.reason or f'code {message.error.code}'}")
    try:
        arrays, facts = read(message.content)
    except GuardrailError as fault:
        return Reply(refused=str(fault))
    return Reply(arrays, facts, str(facts.get("refused", "")))


class Participant(NamedTuple):
    number: int
    dataset: Dataset
    reserve: Reserve
    fingerprint: str = ""
    """Of the records, where they can be others than before."""


Open = Callable[[Context, Job], Participant]
File = Callable[[Job], ClientFile | None]
Said = tuple[Arrays, dict[str, Any]]
Answering = Callable[[Client, Arrays, dict[str, Any]], Said]


def client_app(opened: Open, file: File = lambda _: None) -> ClientApp:
    """The client as Flower runs it, on one machine or on many. It is made anew for every message and remembers by its context, and
    by its file where it has one."""
    app = ClientApp()

    def given(answer: Answering, message: Message, context: Context) -> Said:
        arrays, facts = read(message.content)
        job = parse(Job, facts.get("job"), where="the server's job", error=ArtifactError)
        asked, kept = digest(message.metadata.message_type, arrays, facts), file(job)
        with kept.held() if kept is not None else nullcontext():
            memory = memory_of(context)
            if kept is not None:
                memory = replace(kept.memory, masker=memory.masker)
                if (again := kept.answer_to(asked)) is not None:
                    return again
            one = Client(job, **opened(context, job)._asdict(), memory=memory)
            try:
                said = answer(one, arrays, facts)
            except BaseException:
                keep(memory, context, kept)  # also of what was refused half-way: steps taken stay taken
                raise
            keep(memory, context, kept, asked, said if message.metadata.message_type in (COUNT, TRAIN) else None)
            return said

    def answering(answer: Answering) -> Callable[..., Message]:
        def handle(message: Message, context: Context) -> Message:
            try:
                said = content(*given(answer, message, context))
            except Exception as fault:  # whatever it is: Flower would send its words, which may hold records
                said = content({}, {"refused": in_public(fault)})
            return Message(said, reply_to=message)

        return handle

    app.query("hello")(answering(lambda one, arrays, facts: ({}, {"number": one.number})))
    app.query("count")(answering(lambda one, arrays, facts: (one.answer(unflattened(arrays)), {})))
    app.train()(answering(lambda one, arrays, facts: trained(one.train(int(facts["round"]), arrays), facts)))
    app.query("canaries")(answering(lambda one, arrays, facts: ({}, CanaryRecords(canaries=one.canaries()).model_dump(mode="json"))))
    app.evaluate()(answering(lambda one, arrays, facts: ({}, {"served": judged(one, arrays)})))
    app.query("keys")(answering(lambda one, arrays, facts: ({}, {k: v.hex() for k, v in vars(one.keys(facts["session"])).items()})))
    app.query("shares")(answering(lambda one, arrays, facts: ({}, {"sealed": shared(one, facts)})))
    app.train("masked")(answering(masked))
    app.query("unmask")(answering(lambda one, arrays, facts: ({}, {"shares": unmasked(one, facts)})))
    return app


def judged(one: Client, arrays: Arrays) -> dict[str, Any] | None:
    found = one.served(arrays)
    return found.model_dump(mode="json") if found else None


def shared(one: Client, facts: Mapping[str, Any]) -> dict[str, str]:
    peers = {int(number): PublicKeys(*map(bytes.fromhex, keys)) for number, keys in facts["peers"].items()}
    return {str(number): sealed.hex() for number, sealed in one.shares(facts["session"], peers, int(facts["threshold"])).items()}


def masked(one: Client, arrays: Arrays, facts: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """The work and its result under masks. Beside it no loss: a single client's is not for the server."""
    inbox = {int(number): bytes.fromhex(sealed) for number, sealed in facts["inbox"].items()}
    if facts["work"] == "train":
        vector, update = one.changes(int(facts["round"]), arrays)
        said = {"round": facts["round"], "steps": update.steps}
    else:
        vector, said = one.answer(unflattened(arrays)), {}
        if "rows" in vector:
            raise Unsupported(
                f"secure_aggregation: {one.job.generator.name} counts runs, and which runs a client has cannot be hidden in a sum; use a "
                "family that learns by gradients, or leave secure_aggregation out"
            )
    return one.masked(facts["session"], vector, inbox, float(facts["step"])), said


def unmasked(one: Client, facts: Mapping[str, Any]) -> dict[str, str]:
    return {str(number): share.hex() for number, share in one.unmask(facts["session"], facts["alive"], facts["gone"]).items()}


def in_public(fault: Exception) -> str:
    """Why a client does not answer, as far as it may leave: what is wrong with a message or a budget. What is wrong with the records
    is told with their values in it, and stays in the client's own log."""
    if isinstance(fault, SPEAKING):
        return str(fault)
    print(f"{LOG}{type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
    return f"{type(fault).__name__}, of which this client's own log says more"


def trained(update: Update, facts: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    return update.arrays, {"round": facts["round"], "steps": update.steps, "weight": update.weight, "loss": update.loss}


def memory_of(context: Context) -> Memory:
    kept = context.state.get(MEMORY)
    if not isinstance(kept, ConfigRecord):
        return Memory()
    arrays = context.state.get(f"{MEMORY}-canaries")
    canaries = {name: array.numpy() for name, array in arrays.items()} if isinstance(arrays, ArrayRecord) else {}
    return Memory(**dict(kept.items()), canaries=canaries)


def keep(memory: Memory, context: Context, file: ClientFile | None, asked: str = "", said: Said | None = None) -> None:
    if file is not None:
        file.keep(memory) if said is None else file.keep_answer(memory, asked, *said)
    facts = {key: value for key, value in vars(memory).items() if key != "canaries"}
    context.state[MEMORY] = ConfigRecord(facts)
    context.state[f"{MEMORY}-canaries"] = record_of(memory.canaries)
