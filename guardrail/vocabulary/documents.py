"""Reading YAML and JSON that may be hostile, and writing files so that nobody ever sees half of one.

YAML is the safe subset without aliases (no billion laughs), without duplicate keys, and with YAML 1.2's booleans:
only `true` and `false` are, so that the category `no` stays the word `no`. JSON refuses NaN, duplicate keys and depths
that exhaust the stack.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError

MAX_BYTES = 64 * 2**20
"""No spec, schema, policy or report comes near it; a larger file is a mistake or an attack."""

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


class _Yaml(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and _HALF_A_CHARACTER.search(text):
            raise yaml.YAMLError("\\ud800 and its like are no characters")
        return text

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = {repr(key) for key in keys if keys.count(key) > 1} if len(keys) < 10_000 else set()
        if doubled:
            raise yaml.YAMLError(f"key {', '.join(sorted(doubled))} appears twice")
        return super().construct_mapping(node, deep=deep)


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
# YAML 1.1 reads 1e-5 as a word; YAML 1.2 and every user of a delta read a number.
_FLOAT = ("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))
_Yaml.add_implicit_resolver(*_FLOAT)


class _Writer(yaml.SafeDumper):
    """Quotes every word that YAML 1.1 or the reader above takes for something else, and never refers back by an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _as_scalar(writer: _Writer, text: str) -> yaml.ScalarNode:
    """In double quotes where a character would pass for a line end, which a reader folds into a space."""
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _LINE_ENDS.search(text) else None)


_Writer.add_implicit_resolver(*_FLOAT)
_Writer.add_representer(str, _as_scalar)


def read_text(path: Path, *, error: type[InputError] = InputError) -> str:
    """The file as UTF-8 text (a byte-order mark is dropped)."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: larger than {MAX_BYTES // 2**20} MiB; is it the right file?")
        return path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror or fault}") from None
    except (UnicodeDecodeError, ValueError) as fault:
        raise error(f"{path}: not UTF-8 text ({fault})") from None


def parse_yaml(text: str, *, where: str, error: type[InputError] = InputError) -> Any:
    loader = _Yaml(text)
    try:
        return loader.get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as fault:
        raise error(f"{where}: not valid YAML: {' '.join(str(fault).split()) or 'nested too deeply'}") from None
    finally:
        loader.dispose()


def read_yaml(path: Path, *, error: type[InputError] = InputError) -> Any:
    return parse_yaml(read_text(path, error=error), where=str(path), error=error)


def read_json(path: Path, *, error: type[InputError] = InputError) -> Any:
    return parse_json(read_text(path, error=error), where=str(path), error=error)


def parse_json(text: str, *, where: str, error: type[InputError] = InputError) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        if "\\u" in text:  # half a surrogate pair can be read, and never be written again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise error(f"{where}: JSON nested too deeply") from None
    except ValueError as fault:
        raise error(f"{where}: not valid JSON: {fault}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number JSON knows")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def canonical_json(value: Any) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8, no NaN. What is hashed and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """The whole content or the old file, never half: a temporary sibling is renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_half_written(path))
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """While no other process is: they wait for each other at this file."""
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove_half_written(path: Path) -> None:
    """What `write_atomic` had not renamed into place when its process was killed."""
    for left in path.parent.glob(glob.escape(_half_written(path)) + "*"):
        left.unlink(missing_ok=True)


def _half_written(path: Path) -> str:
    """How the names of its temporary siblings begin."""
    return f".{path.name[:40]}."


def write_yaml(path: Path, value: Any) -> None:
    write_atomic(path, dump_yaml(value))


def dump_yaml(value: Any) -> str:
    """YAML as people write it, keys in the order given; `parse_yaml` reads the same value back."""
    return yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
