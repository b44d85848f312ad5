"""Policies read and applied: report in, verdict out."""
