"""What a spec may get wrong: each is one clear line and exit 2, before a run folder, an artifact or a ledger entry is made."""

from __future__ import annotations

import pytest

PRIVATE = {"epsilon": 3, "records": 500}


def refused(clinic, *expected: str, code: int = 2) -> str:
    """Runs spec.yaml; the message, once it is sure that nothing else happened."""
    said = clinic("run", "spec.yaml")
    assert said.code == code, said.err
    assert said.out == "" and "Traceback" not in said.err
    message = said.err[said.err.index("guardrail: ") :]
    assert all(word in message for word in expected), message
    assert not clinic.runs
    assert clinic("runs", "--json").object["runs"] == []
    if (clinic.folder / "visits.csv").is_file():
        assert clinic.ledger() == []
    assert not list((clinic.home.path / "artifacts").rglob("*"))
    return message


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"generator": {"name": "mades"}}, ["generator 'mades'", "did you mean 'made'"]),
        ({"generator": {"name": "made", "options": {"hiden": [8]}}}, ["hiden", "did you mean 'hidden'"]),
        ({"generator": {"name": "made", "options": {"hidden": "wide"}}}, ["generator.options of made", "hidden"]),
        ({"policy": "releas"}, ["releas", "did you mean 'release'"]),
        ({"policy": "none.yaml"}, ["none.yaml"]),
        ({"audit": {"skip": ["copis"]}}, ["copis", "did you mean 'copies'"]),
        ({"audit": {"only": ["copies"], "skip": ["copies"]}}, ["no audit is left"]),
        ({"audit": {"audience": "everybody"}}, ["audit.audience", "public"]),
        ({"trainig": {"epochs": 3}}, ["unknown key 'trainig'", "did you mean 'training'"]),
        ({"training": {"epoch": 3}}, ["unknown key 'training.epoch'", "did you mean 'epochs'"]),
        ({"training": {"epochs": 0}}, ["training.epochs"]),
        ({"privacy": PRIVATE, "training": {"precision": "bfloat16"}}, ["bfloat16", "not available under privacy"]),
        ({"privacy": PRIVATE, "training": {"compile": True}}, ["compile", "not available under privacy"]),
        ({"sample": {"marks": ["manifest", "watermark"]}}, ["watermark", "[manifest]"]),
        ({"sample": {"n": 0}}, ["sample.n"]),
        ({"data": {"target": "wrad"}}, ["data.target", "did you mean 'ward'"]),
        ({"data": {"sensitive": ["sex", "gender"]}}, ["data.sensitive: no column 'gender'", "'age', 'sex'"]),
        ({"data": {"unit": "patient"}}, ["patient"]),
        ({"data": {"source": "none.csv"}}, ["none.csv", "no such file"]),
        ({"data": {"source": "."}}, ["a folder"]),
        ({"data": {"source": "builtin:adlut"}}, ["adlut", "did you mean 'adult'"]),
        ({"data": {"schema": "none.yaml"}}, ["none.yaml"]),
        ({"data": {"holdout": 1}}, ["data.holdout"]),
        ({"data": {"on_error": "ignore"}}, ["data.on_error"]),
        ({"card": "none.yaml"}, ["none.yaml"]),
        ({"name": "../visits"}, ["name"]),
        ({"seed": -1}, ["seed"]),
        ({"privacy": {"epsilon": 0}}, ["privacy.epsilon"]),
        ({"privacy": {"epsilon": float("nan")}}, ["privacy.epsilon"]),
        ({"privacy": {"epsilon": float("inf")}}, ["privacy.epsilon"]),
        ({"privacy": {"epsilon": 3, "delta": 0}}, ["privacy.delta"]),
        ({"privacy": PRIVATE | {"delta": 1 / 500}}, ["delta 0.002 is not below 1"]),
        ({"privacy": PRIVATE | {"schema_epsilon": 0.5}}, ["schema_epsilon", "there are none"]),
        ({"privacy": PRIVATE | {"schema_epsilon": 3}}, ["schema_epsilon is part of epsilon"]),
        ({"privacy": {"epsilon": 3}, "training": {"batch_size": 50}}, ["batch_size", "public record count"]),
        ({"privacy": PRIVATE | {"noise": "none"}}, ["privacy.noise"]),
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_is_refused_before_anything_is_written_or_spent(clinic, sections, expected):
    clinic.spec(**sections)
    refused(clinic, *expected)


def test_a_device_that_is_not_there_is_refused_before_epsilon_is_spent(clinic):
    import torch

    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    clinic.spec(privacy=PRIVATE, training={"device": absent})
    refused(clinic, f"training.device '{absent}'", "cpu")


@pytest.mark.parametrize("place", ["visits.csv", "visits.csv/runs"])
def test_a_place_that_cannot_hold_runs_is_refused_before_epsilon_is_spent(clinic, place):
    clinic.spec(privacy=PRIVATE)
    said = clinic("run", "spec.yaml", "--runs", place)
    assert said.code == 2 and "--runs" in said.err and "Traceback" not in said.err
    assert clinic.ledger() == [] and (clinic.folder / "visits.csv").is_file()


@pytest.mark.parametrize("place", ["visits.csv/x.yaml", "n" * 300 + ".yaml"])
def test_a_file_that_cannot_be_made_is_one_line_and_no_internal_error(clinic, place):
    said = clinic("schema", "visits.csv", "-o", place)
    assert said.code == 2 and said.err.count("\n") == 1 and "Traceback" not in said.err


def test_no_spec_and_no_yaml_are_refused(clinic):
    refused(clinic, "spec.yaml")
    (clinic.folder / "spec.yaml").write_text("data: [")
    refused(clinic, "spec.yaml", "not valid YAML")
    (clinic.folder / "spec.yaml").write_text("just words")
    refused(clinic, "spec.yaml")


def test_without_a_schema_a_private_run_prints_the_lines_to_fill_in_and_no_value_of_the_data(clinic):
    clinic.spec(data={"schema": None}, privacy=PRIVATE)
    message = refused(clinic, "cost: {kind: numeric, low: ?, high: ?", "ward: {kind: categorical, categories: [?]", "declared_by: ?")
    cells = {cell for line in (clinic.folder / "visits.csv").read_text().splitlines()[1:] for cell in line.split(",")}
    words = set(message.replace("{", " ").replace("}", " ").replace(",", " ").replace(":", " ").split())
    assert not {cell for cell in cells if cell not in ("", "true", "false")} & words


def test_the_printed_lines_with_their_gaps_filled_make_a_run_private(clinic):
    clinic.spec(data={"schema": None, "target": None, "sensitive": None}, privacy=PRIVATE, audit={"only": ["validity"]})
    lines = [line for line in refused(clinic).splitlines() if line.startswith("  ")]
    bounds = {"age": "0|110", "admitted": "2022-01-01|2023-12-31", "cost": "-500|20000", "stay": "0|30"}
    words = {"sex": "female, male", "ward": "surgery, medicine, geriatrics"}
    filled = []
    for line in lines:
        name = line.split(":")[0].strip()
        low, high = bounds.get(name, "|").split("|")
        line = line.replace("low: ?", f"low: {low!r}" if "-01" in low else f"low: {low}").replace(
            "high: ?", f"high: {high!r}" if "-12" in high else f"high: {high}"
        )
        filled.append(
            line.replace("[?]", f"[{words.get(name, '')}]")
            .replace("missing: ?", "missing: true")
            .replace("declared_by: ?", "declared_by: form 7")
        )
    (clinic.folder / "schema.yaml").write_text("columns:\n" + "\n".join(filled) + "\n")
    clinic.spec(data={"target": None, "sensitive": None}, privacy=PRIVATE, audit={"only": ["validity"]})
    assert clinic("run", "spec.yaml").code == 0


def test_entries_read_from_the_records_are_refused_and_only_those_are_printed(clinic):
    text = (clinic.folder / "schema.yaml").read_text()
    (clinic.folder / "schema.yaml").write_text(text.replace("decimals: 2,", "decimals: 2, source: data,"))
    clinic.spec(privacy=PRIVATE)
    message = refused(clinic, "1 of 7 columns", "cost: {kind: numeric, low: ?")
    assert "20000" not in message and "ward" not in message


def test_a_drafted_schema_is_refused_as_it_comes(clinic):
    assert clinic("schema", "visits.csv", "-o", "drafted.yaml").code == 0
    clinic.spec(data={"schema": "drafted.yaml"}, privacy=PRIVATE)
    refused(clinic, "7 of 7 columns")


def plant(clinic, row: int, column: str, value: str) -> None:
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    cells = lines[row].split(",")
    cells[lines[0].split(",").index(column)] = value
    (clinic.folder / "visits.csv").write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n")


@pytest.mark.parametrize("privacy", [None, PRIVATE])
def test_a_category_outside_the_schema_is_named_by_column_and_row(clinic, privacy):
    plant(clinic, 321, "ward", "maternity")
    clinic.spec(privacy=privacy)
    refused(clinic, "visits.csv, row 321, column 'ward'", "'maternity'", "on_error")


def test_a_row_outside_the_schema_is_skipped_where_asked(clinic):
    plant(clinic, 321, "ward", "maternity")
    clinic.spec(data={"on_error": "skip"}, audit={"only": ["validity"]})
    said = clinic("run", "spec.yaml", "--json")
    assert said.code == 0, said.err
    rows = said.object["subject"]["rows"]
    assert rows["train"] + rows["holdout"] == 499


def test_clipping_moves_amounts_and_refuses_words_that_have_no_neighbour(clinic):
    plant(clinic, 77, "age", "140")
    clinic.spec(data={"on_error": "clip"}, audit={"only": ["validity"]})
    said = clinic("train", "spec.yaml", "--json")
    assert said.code == 0 and len(clinic.runs) == 1
    plant(clinic, 78, "ward", "maternity")
    assert "row 78, column 'ward'" in clinic("train", "spec.yaml").err and len(clinic.runs) == 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Age,sex,admitted,ward,smoker,cost,stay", ["no column 'age'", "did you mean 'Age'"]),
        ("age,sex,admitted,ward,smoker,cost,length", ["no column 'stay'"]),
        ("age,sex,admitted,ward,smoker,cost,cost", ["cost"]),
        ("age,sex,admitted,ward,smoker,,stay", ["visits.csv", "name"]),
        ("age;sex;admitted;ward;smoker;cost;stay", ["visits.csv, line 2"]),
        ("age,sex,admitted,ward,smoker,cost,stay,doctor", ["visits.csv, line 2"]),
    ],
)
def test_a_table_with_other_columns_is_refused_by_name(clinic, header, expected):
    rows = (clinic.folder / "visits.csv").read_text().splitlines()[1:]
    (clinic.folder / "visits.csv").write_text("\n".join([header, *rows]) + "\n")
    clinic.spec()
    said = clinic("run", "spec.yaml")
    assert said.code == 2 and not clinic.runs and all(word in said.err for word in expected), said.err


def test_a_column_that_nobody_declared_is_refused_by_name(clinic):
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    (clinic.folder / "visits.csv").write_text("\n".join([lines[0] + ",doctor", *(line + ",A" for line in lines[1:])]) + "\n")
    clinic.spec()
    refused(clinic, "does not know 'doctor'")


@pytest.mark.parametrize("schema", ["schema.yaml", None])
def test_a_table_without_rows_is_refused(clinic, schema):
    (clinic.folder / "visits.csv").write_text((clinic.folder / "visits.csv").read_text().splitlines()[0] + "\n")
    clinic.spec(data={"schema": schema})
    refused(clinic, "visits.csv", "no rows")


@pytest.mark.parametrize(("privacy", "generator"), [(None, "made"), (None, "vae"), ({"epsilon": 3}, "marginals")])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_table_of_a_few_rows_is_refused_or_becomes_a_run_that_knows_little(clinic, rows, privacy, generator):
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    (clinic.folder / "visits.csv").write_text("\n".join(lines[: rows + 1]) + "\n")
    clinic.spec(privacy=privacy, generator={"name": generator}, training={"epochs": 1}, sample={"n": 20})
    said = clinic("run", "spec.yaml", "--json")
    assert said.code in (0, 1, 2), said.err
    assert "Traceback" not in said.err
    if said.code == 2:
        refused(clinic, "rows")
        return
    findings = {finding["metric"]: finding for finding in said.object["findings"]}
    assert findings["privacy.membership_auc"]["status"] == "not_assessable"
    assert all(finding["reason"] for finding in findings.values() if finding["status"] == "not_assessable")


def test_a_constant_and_an_empty_column_go_on(clinic):
    lines = [line.rsplit(",", 2) for line in (clinic.folder / "visits.csv").read_text().splitlines()]
    text = [",".join([lines[0][0], lines[0][1], lines[0][2]])] + [f"{line[0]},,7.5" for line in lines[1:]]
    (clinic.folder / "visits.csv").write_text("\n".join(text) + "\n")
    for schema in ("schema.yaml", None):
        clinic.spec(data={"schema": schema})
        said = clinic("run", "spec.yaml", "--json")
        assert said.code in (0, 1), said.err
        assert {finding["status"] for finding in said.object["findings"]} == {"measured", "not_assessable"}


def test_a_constant_target_and_a_group_of_one_are_not_assessed_and_no_failure(clinic):
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    header = lines[0].split(",")
    ward, sex = header.index("ward"), header.index("sex")
    rows = [line.split(",") for line in lines[1:]]
    for i, row in enumerate(rows):
        row[ward], row[sex] = "surgery", "male" if i == 0 else "female"
    (clinic.folder / "visits.csv").write_text("\n".join([lines[0], *map(",".join, rows)]) + "\n")
    clinic.spec()
    said = clinic("run", "spec.yaml", "--json")
    assert said.code in (0, 1), said.err
    status = {finding["metric"]: finding["status"] for finding in said.object["findings"]}
    assert status["quality.utility_auc"] == status["fairness.demographic_parity_difference"] == "not_assessable"
