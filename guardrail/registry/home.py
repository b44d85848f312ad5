"""The home: one private folder with the fingerprint key, the signing keys, the database and the artifacts.

Where it is: `$GUARDRAIL_HOME`, else the nearest `.guardrail` upward from here, else the per-user data folder. It is
made on first need, with mode 0700, its files 0600, ignored by git. The folder is locked while it is made and the marker
`home.json` is written last, so two processes that start at once end with one key, and a kill in between is completed by
the next start.

The key is never made anew in a home that has its marker: under another key the same data have another fingerprint, and
what the ledger knows about them would silently be forgotten.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from ..vocabulary.documents import read_json, write_atomic
from ..vocabulary.errors import ArtifactError, InputError

MARKER, KEY, IGNORE = "home.json", "fingerprint.key", ".gitignore"
FOLDER = ".guardrail"


class Home:
    """A home at `path`; nothing is written before something of it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @classmethod
    def find(cls, start: Path | None = None) -> Home:
        """`$GUARDRAIL_HOME`, else the nearest `.guardrail` upward from `start` (or here), else the user's data folder."""
        if named := os.environ.get("GUARDRAIL_HOME"):
            return cls(Path(named))
        here = (start or Path.cwd()).absolute()
        for folder in (here, *here.parents):
            if (folder / FOLDER).is_dir():
                return cls(_ours(folder / FOLDER))
        return cls(Path(platformdirs.user_data_dir("guardrail", appauthor=False)))

    @classmethod
    def empty(cls, path: Path) -> Home:
        """A new home at `path` for a demonstration. Empties only what an earlier call of this function made.

        Any other home holds a ledger: emptying it would forget what was spent.
        """
        home = cls(path)
        with home._locked():
            if home._marked():
                if not home.throwaway:
                    raise InputError(
                        f"{home.path}: a home with a ledger is not emptied, it would forget what was spent; name another folder"
                    )
                _clear(home.path)
            home._make(throwaway=True)
        return home

    @property
    def throwaway(self) -> bool:
        """Made by `empty`, and no ledger that anybody relies on."""
        return self._marked() and bool(self._marker().get("throwaway"))

    @property
    def id(self) -> str:
        """Random, so that a ledger can say which home it covers."""
        self._exist()
        return str(self._marker()["id"])

    def key(self) -> bytes:
        """32 secret bytes under which data are fingerprinted; they never leave the home."""
        self._exist()
        try:
            key = (self.path / KEY).read_bytes()
        except OSError:
            key = b""
        if len(key) != 32:
            raise ArtifactError(
                f"{self.path / KEY}: missing or damaged; without it the ledger cannot recognise your data. "
                "Restore it from a backup, or set GUARDRAIL_HOME to a new folder and count what was spent there from the start"
            )
        return key

    @property
    def keys_path(self) -> Path:
        """Folder of the signing keys."""
        self._exist()
        return self.path / "keys"

    @property
    def federations_path(self) -> Path:
        """Folder of what this home's records have done in federations."""
        self._exist()
        return self.path / "federations"

    @property
    def database_url(self) -> str:
        if url := os.environ.get("GUARDRAIL_DATABASE_URL"):
            return url
        self._exist()
        return f"sqlite:///{self.path / 'registry.sqlite'}"

    @property
    def artifacts_url(self) -> str:
        """Any fsspec URL."""
        if url := os.environ.get("GUARDRAIL_ARTIFACTS_URL"):
            return url
        self._exist()
        return str(self.path / "artifacts")

    def _marked(self) -> bool:
        return (self.path / MARKER).is_file() and not (self.path / MARKER).is_symlink()

    def _marker(self) -> dict[str, Any]:
        found = read_json(self.path / MARKER, error=ArtifactError)
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise ArtifactError(f"{self.path / MARKER}: not the marker of a guardrail home; restore it, or name another folder")
        return found

    def _exist(self) -> None:
        if self._marked():
            return
        with self._locked():
            if not self._marked():
                self._make(throwaway=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as fault:
            raise InputError(
                f"{self.path}: cannot hold guardrail's home: {fault.strerror}; set GUARDRAIL_HOME to a writable folder"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _make(self, *, throwaway: bool) -> None:
        """Needs the lock. The marker comes last: a folder without it is completed, never believed."""
        if foreign := {entry.name for entry in self.path.iterdir() if not entry.name.startswith(f".{KEY}.")} - {KEY, IGNORE}:
            raise InputError(
                f"{self.path}: holds other files ({', '.join(sorted(foreign)[:3])}) and is no guardrail home; name an empty or new folder"
            )
        self.path.chmod(0o700)
        write_atomic(self.path / IGNORE, "*\n", mode=0o600)
        if not (self.path / KEY).is_file():
            write_atomic(self.path / KEY, secrets.token_bytes(32), mode=0o600)
        marker = {"id": secrets.token_hex(8), "version": 1, "throwaway": throwaway}
        write_atomic(self.path / MARKER, json.dumps(marker) + "\n", mode=0o600)


def _ours(folder: Path) -> Path:
    """A `.guardrail` that another user put above us (in /tmp, say) would know our key."""
    owner = folder.stat().st_uid
    if os.getuid() not in (0, owner):
        raise InputError(f"{folder}: belongs to another user, who could read its key; set GUARDRAIL_HOME to a folder of yours")
    return folder


def _clear(path: Path) -> None:
    """Everything but the marker, then the marker: an interrupted emptying is recognised and completed."""
    for entry in path.iterdir():
        if entry.name != MARKER:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (path / MARKER).unlink()
