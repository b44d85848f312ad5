"""The dashboard, started by `guardrail dashboard`: a list of runs, and one page per run.

It reads the registry and the run folders and writes nothing. A run is named in the address by its whole id and looked up
in the registry, so no path ever comes from the browser. Every word from a run may be hostile: text is escaped, drawings
are shown as images, tables are sanitised, and no page contains markup that a run brought with it.
"""

from __future__ import annotations

import streamlit as st

from guardrail.dashboard import documents, listing, run_page
from guardrail.dashboard.cells import STYLE, box, paragraph, write
from guardrail.registry.home import Home
from guardrail.registry.runs import Registry
from guardrail.vocabulary.errors import GuardrailError


def main() -> None:
    # No page icon: Streamlit fetches named ones from a font service, and this page talks to nobody.
    st.set_page_config(page_title="guardrail", layout="wide")
    st.html(STYLE)
    try:
        registry = Registry(Home.find())
        if run := st.query_params.get("run"):
            run_page.show(documents.load(registry.get(run)))
        else:
            listing.show(registry.runs())
    except GuardrailError as fault:
        write(box("fail", paragraph(str(fault))))
        if st.button("All runs"):
            st.query_params.clear()
            st.rerun()


if __name__ == "__main__":
    main()
