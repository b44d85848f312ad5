"""The words everything else is written in: pydantic models, protocols, errors. Imports no torch and no other part of guardrail."""
