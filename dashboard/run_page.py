"""Second page: one run. First what a reader without statistics needs, then every finding, then the evidence."""

from __future__ import annotations

import streamlit as st
from markupsafe import Markup

from guardrail.reports.text import number
from guardrail.reports.words import ICONS, OUTSIDE_EPSILON, SEVERITY, not_passing, outcome, verdict_line, waived_in
from guardrail.vocabulary.card import Card
from guardrail.vocabulary.privacy_meaning import percent
from guardrail.vocabulary.report import RuleOutcome, Verdict

from . import findings
from .cells import box, bullets, chip, code, heading, muted, paragraph, safe, strong, table, write
from .documents import DOWNLOADS, Saved

_FILE_STATUS = {"unchanged": "pass", "changed since": "fail"}


def show(saved: Saved) -> None:
    if st.button("← All runs"):
        st.query_params.clear()
        st.rerun()
    record = saved.record
    title = saved.card.words.title if saved.card and saved.card.words.title else record.name
    audience = saved.report.audience if saved.report else "no report"
    write(heading(title or "unnamed", 1), muted(f"{record.id} · {record.family} · {record.created:%Y-%m-%d %H:%M} UTC · {audience}"))
    if saved.problems:
        write(*(box("fail", paragraph(problem)) for problem in saved.problems))
    _downloads(saved)
    first, measured, evidence = st.tabs(["In plain words", "Findings", "Evidence"])
    with first:
        _plain(saved)
    with measured:
        findings.show(saved)
    with evidence:
        _evidence(saved)


def _downloads(saved: Saved) -> None:
    with st.container(horizontal=True):
        for name, kind in DOWNLOADS.items():
            if (content := saved.download(name)) is not None:
                short = name.rpartition("/")[2]
                st.download_button(short, content, file_name=f"{saved.record.id}-{short}", mime=kind, key=name)


def _plain(saved: Saved) -> None:
    """What fails, what epsilon means, what nobody looked at, what people say of it."""
    write(*(_verdict(verdict) for verdict in saved.verdicts))
    if not saved.verdicts:
        write(
            box(
                "unknown", paragraph("Not judged by any policy. Apply one with:", code("guardrail judge REPORT --policy release --out DIR"))
            )
        )
    if saved.card is None:
        write(paragraph("This run has no model card yet. Write it with:", code(f"guardrail card {saved.record.id}")))
        return
    _privacy(saved.card)
    if (picture := saved.preview) is not None and saved.card.audience == "internal":
        write(heading("Some samples"))
        st.image(picture, caption="The first that were drawn, not chosen. For readers inside only.")
    gaps = [f"{gap.reason[:1].upper()}{gap.reason[1:]}: {', '.join(gap.metrics)}" for gap in saved.card.not_assessed]
    said = bullets(gaps) if gaps else paragraph("Every metric that guardrail knows for these data was measured.")
    write(heading("What was not assessed"), said)
    _words(saved.card)


def _verdict(verdict: Verdict) -> Markup:
    rules = bullets([_rule(rule) for rule in [*not_passing(verdict), *waived_in([verdict])]])
    passed = sum(rule.status == "pass" for rule in verdict.rules)
    return box(
        verdict.status,
        heading(f"{ICONS[verdict.status]} {verdict_line(verdict)}", 3),
        rules,
        muted(f"{passed} of {len(verdict.rules)} rules pass"),
    )


def _rule(rule: RuleOutcome) -> Markup:
    note = f" {rule.note[:1].upper()}{rule.note[1:]}." if rule.note and rule.status != "fail" else ""
    return Markup("{} {} ({}). {}").format(
        chip(rule.status), strong(rule.id), SEVERITY[rule.severity], safe(f"{outcome(rule)}{note} {rule.why}".strip())
    )


def _privacy(card: Card) -> None:
    meaning = card.privacy
    write(heading("What epsilon means here"))
    if meaning.claimed and meaning.best_tpr is not None:
        weak = "This forbids little: an attacker may find most of the members." if meaning.weak else ""
        figure = Markup('<div class="figure">{}</div>').format(percent(meaning.best_tpr))
        shown, words = st.columns([1, 4], vertical_alignment="center")
        with shown:
            write(figure, muted("an attacker finds at most"))
        with words:
            write(paragraph(meaning.meaning), paragraph(meaning.statement, strong(weak) if weak else ""))
    else:
        write(box("unknown", paragraph(meaning.statement)))
    if meaning.uncovered:
        write(paragraph("Epsilon does not cover:"), bullets(meaning.uncovered))


def _words(card: Card) -> None:
    said = {
        "Owner": card.words.owner,
        "Intended use": card.words.intended_use,
        "Prohibited use": card.words.prohibited_use,
        "Training data": card.words.training_data,
        "Limits": card.words.limits,
        "Ethical considerations": card.words.ethical_considerations,
        "Licence": card.words.licence,
    }
    unsaid = Markup('<p class="unsaid">not stated</p>')
    write(heading("What people say of it"))
    write(*(piece for title, text in said.items() for piece in (heading(title, 3), paragraph(text) if text.strip() else unsaid)))
    write(heading("What no number here can show"), bullets(card.limits))


def _evidence(saved: Saved) -> None:
    write(paragraph("Hashes of what the findings were computed from. Files of the run folder are compared with them now."))
    rows = []
    for role, digest in saved.evidence.items():
        state = saved.state_of(role)
        rows.append((role, code(digest), chip(_FILE_STATUS.get(state, "unknown"), state) if state else muted("not compared")))
    table(["artifact", "hash", "file"], rows, short=(2,))
    receipt = saved.card.receipt if saved.card else None
    if receipt and receipt.privacy:
        claim = receipt.privacy
        write(
            heading("What training did to the records"),
            paragraph(
                f"epsilon {number(claim.epsilon)} by the PRV accountant ({number(claim.epsilon_rdp)} by Rényi accounting) at delta "
                f"{number(claim.delta)}, per {claim.unit}, {claim.relation}, noise: {claim.noise}; ledger entry {receipt.ledger or 'none'}"
            ),
        )
        mechanisms = [(item.kind.replace("_", " "), item.what, number(item.noise_multiplier)) for item in claim.mechanisms]
        table(["mechanism", "of what", "noise multiplier"], mechanisms, numbers=(2,))
    write(muted(OUTSIDE_EPSILON))
