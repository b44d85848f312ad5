"""Image files: what is read as it stands, and what a stranger's file gets instead: one clear sentence."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from guardrail.data.arrays import as_column
from guardrail.data.image import MODALITY
from guardrail.vocabulary.errors import DataError
from guardrail.vocabulary.schema import Schema


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def grey(size: int = 4, value: int = 9) -> Image.Image:
    return Image.fromarray(np.full((size, size), value, np.uint8))


def test_subfolders_are_the_labels_and_hidden_files_and_links_are_not_seen(tmp_path: Path) -> None:
    saved(tmp_path / "data" / "cat" / "b.PNG", grey(value=1))
    saved(tmp_path / "data" / "cat" / "a.jpg", Image.new("RGB", (3, 2), "red"), quality=95)
    saved(tmp_path / "data" / "ant" / "deep" / "c.png", grey(value=3))
    saved(tmp_path / "data" / ".hidden" / "d.png", grey())
    saved(tmp_path / "data" / "ant" / ".e.png", grey())
    saved(tmp_path / "secret" / "f.png", grey())
    (tmp_path / "data" / "ant" / "link.png").symlink_to(tmp_path / "secret" / "f.png")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "notes.txt").write_text("no image")
    assert MODALITY.reads(tmp_path / "data")
    frame = MODALITY.read(tmp_path / "data")
    assert list(frame["label"]) == ["ant", "cat", "cat"]
    assert [cell.shape for cell in frame["image"]] == [(4, 4, 1), (2, 3, 3), (4, 4, 1)]
    assert frame["image"][0].max() == 3 and frame.attrs["skipped"] == 0


def test_palettes_transparency_and_one_bit_become_plain_pixels(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    saved(tmp_path / "a.png", clear)
    saved(tmp_path / "b.png", Image.new("RGB", (2, 2), "blue").convert("P"))
    saved(tmp_path / "c.png", Image.new("1", (2, 2), 1))
    first, second, third = MODALITY.read(tmp_path)["image"]
    assert (first == 255).all() and first.shape == (2, 2, 3)
    assert second[0, 0].tolist() == [0, 0, 255] and third[0, 0].tolist() == [255]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """60,000 by 60,000 pixels in a few bytes."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )


def deep(mode: int) -> bytes:
    """2 by 2 pixels of 16 bits a channel: grey (0) or RGB (2)."""
    line = b"\0" + bytes(4 if mode == 0 else 12)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, mode, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(line * 2)) + chunk(b"IEND", b"")


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


BROKEN = {
    "empty": (b"", "is empty"),
    "bomb": (bomb(), "bomb"),
    "16-bit grey": (deep(0), "16 bits"),
    "16-bit colour": (deep(2), "16 bits"),
    "cmyk": (packed(Image.new("CMYK", (2, 2)), "JPEG"), "mode CMYK"),
    "animated": (packed(grey(), "PNG", save_all=True, append_images=[grey(value=200)]), "animated"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "neither PNG nor JPEG"),
    "gif": (packed(grey(), "GIF"), "neither PNG nor JPEG"),
    "cut off": (packed(Image.effect_noise((64, 64), 60), "PNG")[:900], "broken or cut off"),
    "cut off jpeg": (packed(Image.effect_noise((64, 64), 60), "JPEG")[:900], "broken or cut off"),
    "header only": (packed(grey(), "PNG")[:20], "neither PNG nor JPEG|cut off"),
    "wrong sum": (packed(grey(64), "PNG").replace(b"IDAT", b"IDAX"), "cut off"),
    "text bomb": (
        packed(grey(), "PNG")[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27))) + packed(grey(), "PNG")[33:],
        "cut off",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_among_others_is_named_or_counted(tmp_path: Path, name: str) -> None:
    content, told = BROKEN[name]
    for i in range(3):
        saved(tmp_path / f"{i}.png", grey(value=i))
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=told) as fault:
        MODALITY.read(tmp_path)
    assert "1.png" in str(fault.value) and "one of 3" in str(fault.value)
    frame = MODALITY.read(tmp_path, on_error="skip")
    assert frame.attrs["skipped"] == 1 and [cell.max() for cell in frame["image"]] == [0, 2]
    with pytest.raises(DataError, match=told):
        MODALITY.read(tmp_path / "1.png")


def test_a_folder_of_nothing_and_a_mixed_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no PNG or JPEG"):
        MODALITY.read(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 images"):
        MODALITY.read(tmp_path, on_error="skip")
    saved(tmp_path / "class" / "b.png", grey())
    with pytest.raises(DataError, match="beside the subfolders"):
        MODALITY.read(tmp_path)


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in members.items():
            box.writestr(name, content)
    return stream.getvalue()


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/exploded"),))  # noqa: S108


ARCHIVES = {
    "empty file": (b"", "not a whole .npz"),
    "cut off": (npz(images=np.zeros((5, 4, 4), np.uint8))[:-30], "not a whole .npz"),
    "no images": (npz(pictures=np.zeros(3)), "no array 'images'"),
    "objects": (npz(images=np.array([Explosive()], dtype=object)), "pickle can run code"),
    "bare pickle": (zipped({"images.npy": pickle.dumps(Explosive())}), "not a whole .npz"),
    "floats": (npz(images=np.zeros((5, 4, 4))), "uint8"),
    "shape": (npz(images=np.zeros((5, 4), np.uint8)), "of shape"),
    "five channels": (npz(images=np.zeros((5, 4, 4, 5), np.uint8)), "of shape"),
    "ragged": (npz(images=np.zeros((5, 4, 4), np.uint8), labels=np.zeros(4)), "belongs to no column"),
    "zip bomb": (npz(images=np.zeros((2**27,), np.uint8)), "zip bomb"),
    "liar": (
        zipped({"images.npy": header("{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 28, 28), }\n")}),
        "claims shape",
    ),
    "negative": (
        zipped({"images.npy": header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28), }\n")}),
        "claims shape|not a whole",
    ),
    "huge header": (zipped({"images.npy": header("{" + " " * 60_000 + "}")}), "not a whole .npz"),
    "code in header": (zipped({"images.npy": header("__import__('os').system('true')")}), "not a whole .npz"),
    "no arrays": (zipped({}), "holds no array"),
    "other member": (zipped({"images.npy.txt": b"x"}), "is no array"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_or_broken_archive_gets_one_sentence(tmp_path: Path, name: str) -> None:
    content, told = ARCHIVES[name]
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told) as fault:
        MODALITY.read(path)
    assert "data.npz" in str(fault.value) and "\n" not in str(fault.value)
    assert not Path("/tmp/exploded").exists()  # noqa: S108


def test_an_archive_brings_its_columns_and_goes_round(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    (tmp_path / "a.npz").write_bytes(npz(images=images, labels=np.arange(6) % 2, hand=np.array(["left", "right"] * 3)))
    frame = MODALITY.read(tmp_path / "a.npz")
    assert list(frame.columns) == ["image", "label", "hand"] and list(frame["hand"][:2]) == ["left", "right"]
    schema = MODALITY.draft(frame, target="label", sensitive=("hand",), unit="row")
    assert schema.image is not None and (schema.image.height, schema.image.width, schema.image.channels) == (5, 4, 1)
    table, kept = MODALITY.cast(frame, schema, on_error="fail", where="a")
    assert kept.all()
    MODALITY.write(table, tmp_path / "b.npz", schema)
    again, _ = MODALITY.cast(MODALITY.read(tmp_path / "b.npz"), schema, on_error="fail", where="b")
    assert np.array_equal(np.stack(list(again["image"]))[..., 0], images)
    assert again.drop(columns="image").equals(table.drop(columns="image"))
    content = (tmp_path / "b.npz").read_bytes()
    MODALITY.write(table, tmp_path / "b.npz", schema)
    assert (tmp_path / "b.npz").read_bytes() == content


def test_a_folder_of_pngs_goes_round_by_its_target_and_is_whole_or_absent(tmp_path: Path) -> None:
    schema = Schema.model_validate(
        {
            "modality": "image", "target": "label", "image": {"height": 2, "width": 2},
            "columns": {"label": {"kind": "categorical", "categories": ["a", "../b"], "missing": True}},
        }
    )  # fmt: skip
    cells = as_column([np.full((2, 2, 1), i, np.uint8) for i in range(3)])
    table, _ = MODALITY.cast(pd.DataFrame({"image": cells, "label": ["a", None, "a"]}), schema, on_error="fail", where="x")
    MODALITY.write(table, tmp_path / "out", schema)
    back = MODALITY.read(tmp_path / "out")
    assert list(back["label"]) == ["a", "a", "missing"] and [cell.max() for cell in back["image"]] == [0, 2, 1]
    with pytest.raises(DataError, match="not an empty folder"):
        MODALITY.write(table, tmp_path / "out", schema)
    escaping, _ = MODALITY.cast(pd.DataFrame({"image": cells, "label": ["a", "../b", "a"]}), schema, on_error="fail", where="x")
    with pytest.raises(DataError, match="cannot be the name of a folder"):
        MODALITY.write(escaping, tmp_path / "other", schema)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    with pytest.raises(DataError, match="without a suffix"):
        MODALITY.write(table, tmp_path / "out.gif", schema)
