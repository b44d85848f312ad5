"""`guardrail schema`: a draft to edit, in which everything read from the records is marked so."""

from __future__ import annotations

from pathlib import Path

import click

from . import columns, echo_json


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the YAML there instead of printing it.")
@click.option("--force", is_flag=True, help="Overwrite the file, and what people declared in it.")
@click.option("--target", help="Column that a model is to predict.")
@click.option("--sensitive", help="Columns whose groups must fare alike, separated by commas.")
@click.option("--unit", default="row", show_default=True, help="Unit of privacy: row, or the column that names the person.")
@click.option("--merges", type=click.IntRange(min=1), help="Texts: learn so many byte pairs from them as a vocabulary (BPE).")
@click.option("--json", "as_json", is_flag=True, help="Print the schema as one JSON object.")
def schema(
    data: str, out: Path | None, force: bool, target: str | None, sensitive: str | None, unit: str, merges: int | None, as_json: bool
) -> None:
    """Draft the schema of a source: a table, images, texts, music, series, or builtin:NAME.

    \b
    Example:
      guardrail schema builtin:adult
    """
    from ..data.coders import coder_of
    from ..data.schema_file import dump_schema
    from ..data.sources import open_source
    from ..vocabulary.documents import write_atomic
    from ..vocabulary.errors import SpecError

    if out is not None and out.exists() and not force:
        raise SpecError(f"{out}: exists, and people may have edited it; name another file, or say --force")
    source = open_source(data, Path())
    found = source.schema or source.modality.draft(source.frame, target=target, sensitive=columns(sensitive), unit=unit)
    if merges is not None:
        if found.text is None:
            raise SpecError(f"--merges: a vocabulary of byte pairs is for texts, and {data} holds {found.modality} data")
        from ..data.text import drafted_merges

        found = drafted_merges(source.frame, found, most=merges)
    for name, entry in found.columns.items():
        coder_of(name, entry)  # a column with too many categories is named here, before it fills a file
    if out is not None:
        write_atomic(out, dump_schema(found))
    if as_json:
        echo_json(found.model_dump(mode="json"))
    elif out is None:
        click.echo(dump_schema(found), nl=False)
    entries = [*found.columns.values(), *([found.content] if found.content else [])]
    click.echo(_advice(sum(entry.source == "data" for entry in entries), out), err=True)


def _advice(read: int, out: Path | None) -> str:
    written = f"wrote {out}; " if out else ""
    if not read:
        return f"{written}every entry is public: a private training may use this schema"
    return (
        f"{written}{read} entries were read from the records (source: data). A private run refuses them: "
        "replace their bounds and categories by what is public, and set source: public with declared_by"
    )
