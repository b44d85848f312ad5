"""The report directory: every file a projection of one Report."""

from .directory import read_report, write_report
from .publish import publish

__all__ = ["publish", "read_report", "write_report"]
