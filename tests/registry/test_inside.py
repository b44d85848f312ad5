import os
import threading

import pytest

from guardrail.registry.inside import read_inside, text_inside
from guardrail.vocabulary.errors import ArtifactError

HOSTILE = [
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "a//b",
    "./x",
    "",
    "a/",
    "x\0y",
    "..",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run" / "report").mkdir(parents=True)
    (tmp_path / "run" / "report" / "report.json").write_text("{}")
    return tmp_path / "run"


def test_a_file_of_the_folder_is_read(folder):
    assert read_inside(folder, "report/report.json") == b"{}" and text_inside(folder, "report/report.json") == "{}"


def test_a_file_that_is_not_there_is_none(folder):
    assert read_inside(folder, "card.json") is None and read_inside(folder, "no/such/card.json") is None
    assert read_inside(folder / "gone", "card.json") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_refused(folder, name):
    with pytest.raises(ArtifactError):
        read_inside(folder, name)


@pytest.mark.parametrize("name", ["..\\secret", "%2e%2e%2fsecret", "%252e%252e%252fsecret", "CON", "\u202etxt.exe", "a" * 200, "\u0430"])
def test_names_that_mean_something_elsewhere_are_only_names_here(folder, name):
    assert read_inside(folder, name) is None


def test_a_name_beyond_the_limit_of_the_file_system_is_one_clear_error(folder):
    with pytest.raises(ArtifactError):
        read_inside(folder, "a" * 300)


def test_links_inside_the_folder_are_not_followed(folder):
    (folder / "card.json").symlink_to(folder.parent / "secret")
    (folder / "samples").symlink_to(folder.parent)
    for name in ("card.json", "samples/secret"):
        with pytest.raises(ArtifactError, match="link"):
            read_inside(folder, name)


def test_the_folder_itself_may_be_reached_by_a_link(folder, tmp_path):
    (tmp_path / "latest").symlink_to(folder)
    assert read_inside(tmp_path / "latest", "report/report.json") == b"{}"


def test_a_link_swapped_in_while_we_read_never_leads_out(folder):
    """A file and a link to the secret take turns under one name; whatever is read is the file's."""
    (folder / "card").write_text("card")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            (folder / "swap").symlink_to(folder.parent / "secret")
            (folder / "swap").replace(folder / "card")
            (folder / "swap").write_text("card")
            (folder / "swap").replace(folder / "card")

    swapper = threading.Thread(target=swap)
    swapper.start()
    outcomes = set()
    try:
        for _ in range(3000):
            try:
                outcomes.add(read_inside(folder, "card"))
            except ArtifactError:
                outcomes.add("refused")
    finally:
        stop.set()
        swapper.join()
    assert "refused" in outcomes and outcomes <= {b"card", "refused"}


def test_pipes_devices_and_folders_are_refused_without_waiting(folder):
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "report"):
        with pytest.raises(ArtifactError, match="regular"):
            read_inside(folder, name)


def test_too_large_and_not_text_are_one_clear_error(folder):
    (folder / "big").write_bytes(b"\xff" * 100)
    with pytest.raises(ArtifactError, match="larger"):
        read_inside(folder, "big", limit=99)
    with pytest.raises(ArtifactError, match="UTF-8"):
        text_inside(folder, "big")
