"""Policies as YAML, and the control catalogues they cite."""

if __name__ == "policies":
    raise ImportError("import guardrail.policies, not policies: the folder is a part of the package guardrail")
