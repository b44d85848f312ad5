"""guardrail: from private data to a signed, reviewed release of a generative model.

model = guardrail.fit(frame, schema=schema, generator="made", epsilon=3)
synthetic = model.sample(1000)
report = guardrail.audit(train=frame, synthetic=synthetic, schema=schema)
verdict = guardrail.judge(report, "samples")
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import audit, fit, judge
    from .data.builtin import load as load_builtin

__version__ = version("guardrail-generators")
__all__ = ["__version__", "audit", "fit", "judge", "load_builtin"]

_PUBLIC = {"audit": "guardrail.api", "fit": "guardrail.api", "judge": "guardrail.api", "load_builtin": "guardrail.data.builtin:load"}


def __getattr__(name: str) -> Any:
    """Public names are resolved when first used: `guardrail --help` must not wait for pandas."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'guardrail' has no attribute {name!r}")
    import importlib

    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)
