"""Artifacts by content hash, in a folder or at any fsspec URL. Records never enter: only the kinds below do.

What is stored under a hash is what has that hash: loading checks it.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, get_args

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..vocabulary.documents import parse_json, sha256_of, write_atomic
from ..vocabulary.errors import ArtifactError, InputError, PrivacyRefused

Kind = Literal["spec", "schema", "receipt", "weights", "codec", "metrics", "report", "card", "verdict"]
_JSON: tuple[Kind, ...] = ("schema", "receipt", "codec", "report", "verdict")
"""One object each; a table under such a name is noticed."""


class Artifacts:
    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise InputError(f"GUARDRAIL_ARTIFACTS_URL: cannot be opened: {fault}") from None

    def put(self, content: bytes, kind: Kind) -> str:
        """Its hash, `sha256:…`. The same content is stored once."""
        _refuse_records(content, kind)
        name = sha256_of(content)
        path = self._path(name)
        try:
            if not self._files.exists(path):
                self._write(path, content)
        except OSError as fault:
            raise ArtifactError(f"{path}: the artifact store cannot be written: {fault}; see GUARDRAIL_ARTIFACTS_URL") from None
        return name

    def get(self, name: str) -> bytes:
        try:
            content: bytes = self._files.cat_file(self._path(name))
        except FileNotFoundError:
            raise ArtifactError(f"{name}: not in the artifact store {self._root}") from None
        if sha256_of(content) != name:
            raise ArtifactError(f"{name}: the stored content has another hash; it was changed or damaged, restore it from a backup")
        return content

    def _path(self, name: str) -> str:
        digest = name.removeprefix("sha256:")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ArtifactError(f"{name!r}: not the hash of an artifact")
        return f"{self._root}/{digest[:2]}/{digest}"

    def _write(self, path: str, content: bytes) -> None:
        """Under a name of its own first, so that nobody reads half of it."""
        if isinstance(self._files, LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(Path(path), content, mode=0o600)
            return
        self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        partial = f"{path}.{secrets.token_hex(4)}.partial"
        self._files.pipe_file(partial, content)
        self._files.mv(partial, path)


def _refuse_records(content: bytes, kind: str) -> None:
    if kind not in get_args(Kind):
        raise PrivacyRefused(
            f"artifact kind {kind!r}: the store keeps {', '.join(get_args(Kind))}; records and samples stay where they are"
        )
    if content[:4] == b"PAR1":
        raise PrivacyRefused(f"a table does not become an artifact by being called {kind!r}; records stay where they are")
    if kind in _JSON:
        try:
            found = parse_json(content.decode("utf-8"), where=f"artifact of kind {kind!r}", error=ArtifactError)
        except UnicodeDecodeError:
            found = None
        if not isinstance(found, dict):
            raise ArtifactError(f"an artifact of kind {kind!r} is one JSON object; this is none")
