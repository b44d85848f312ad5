"""The dashboard: Streamlit pages that read the registry. Imports no torch."""

if __name__ == "dashboard":
    raise ImportError("import guardrail.dashboard, not dashboard: the folder is a part of the package guardrail")
