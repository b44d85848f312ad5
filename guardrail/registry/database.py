"""The database of a home: tables as typed models, and transactions that cannot interleave.

SQLite by default, any SQLAlchemy URL by `GUARDRAIL_DATABASE_URL`. On SQLite every transaction begins IMMEDIATE, so what is
read inside it stays true until it is committed. Whatever the database says against us arrives as one ArtifactError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import JSON, Engine, ForeignKey, String, Text, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ..vocabulary.errors import ArtifactError, InputError


class Base(DeclarativeBase):
    pass


class RunRow(Base):
    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    created: Mapped[str] = mapped_column(String(40), index=True)
    """ISO 8601 in UTC: sorts as text, and keeps its zone in every database."""
    path: Mapped[str] = mapped_column(Text)
    family: Mapped[str] = mapped_column(String(120))
    modality: Mapped[str] = mapped_column(String(40))
    spec_sha: Mapped[str | None] = mapped_column(String(80))
    receipt_sha: Mapped[str | None] = mapped_column(String(80))
    epsilon: Mapped[float | None]
    delta: Mapped[float | None]
    verdicts: Mapped[dict[str, str]] = mapped_column(JSON)


class ArtifactRow(Base):
    __tablename__ = "artifacts"

    sha256: Mapped[str] = mapped_column(String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    bytes: Mapped[int]


class RunArtifactRow(Base):
    __tablename__ = "run_artifacts"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    artifact: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"), primary_key=True)


class LedgerRow(Base):
    """One entry of a home's ledger. The key makes a second writer of the same number fail on every database."""

    __tablename__ = "ledger"

    home: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(Text)
    mac: Mapped[str] = mapped_column(String(80))


class Database:
    """Opened on construction; makes its tables where they are missing."""

    def __init__(self, url: str) -> None:
        try:
            self._url: URL = make_url(url)
            self._engine = self._open()
        except ArgumentError:
            raise InputError("GUARDRAIL_DATABASE_URL: not a database URL; expected something like postgresql+psycopg://host/name") from None
        except ModuleNotFoundError as fault:
            raise InputError(f"GUARDRAIL_DATABASE_URL: the driver {fault.name!r} is not installed: pip install it") from None
        with self.transaction() as session:
            Base.metadata.create_all(session.connection())

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Committed at the end, rolled back on any error. IntegrityError passes: whoever writes knows what it means."""
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except IntegrityError:
            raise
        except (SQLAlchemyError, DatabaseError) as fault:
            reason = str(getattr(fault, "orig", None) or fault).splitlines()[0]
            raise ArtifactError(f"{self}: {reason}; restore it from a backup, or see that it can be reached and written") from None

    def __str__(self) -> str:
        return f"database {self._url.render_as_string(hide_password=True)}"

    def _open(self) -> Engine:
        if self._url.get_backend_name() != "sqlite":
            return create_engine(self._url)
        _reserve_file(self._url.database)
        engine = create_engine(self._url, connect_args={"timeout": 60})
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine


def _leave_transactions_to_us(connection: object, _record: object) -> None:
    # Otherwise sqlite3 opens deferred transactions itself: two readers would both go on to write.
    connection.isolation_level = None  # type: ignore[attr-defined]
    connection.execute("PRAGMA foreign_keys=ON")  # type: ignore[attr-defined]


def _reserve_file(database: str | None) -> None:
    """Makes the file before SQLite does, readable by its owner only."""
    if not database or database == ":memory:" or database.startswith("file:"):
        return
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as fault:
        raise InputError(f"{database}: cannot hold the registry: {fault.strerror}; see GUARDRAIL_HOME and GUARDRAIL_DATABASE_URL") from None
