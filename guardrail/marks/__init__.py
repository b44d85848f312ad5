"""Provenance put on what leaves: signed manifests now; embedded ones and watermarks join here."""
