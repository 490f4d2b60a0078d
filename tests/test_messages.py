"""Messages are for people who do not program, and spell options as the place where the user stands has them."""

from __future__ import annotations

import json

import pytest

import recon
import recon.io as io
from recon.cli import main
from recon.errors import listed, reason, shown, spelled_for_command_line


def raised(code: str) -> Exception:
    try:
        exec(code, {"json": json})
    except Exception as error:
        return error
    raise AssertionError(code)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("float('1.2x')", "'1.2x' is no number"), ("int(b'5N')", "'5N' is no number"), ("[][3]", "numbers are missing"),
        ("{}['fov']", "'fov' is missing"),
        ("b'\\xff'.decode()", "byte 0 is no text (UTF-8)"), ("None + 1", "what is in it does not fit the format"),
        ("json.loads('{')", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"), ("raise ValueError", "it says no reason"),
        ("raise ValueError('cannot reshape array of size 0')", "what is in it does not fit the format"),
        ("1 +", "what is in it does not fit the format"),
    ],
)  # fmt: skip
def test_reasons(code, wanted):
    assert reason(raised(code)) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, "nothing"), (True, "true"), (b"ply\n", r"'ply\n'"), ("a'b", '"a\'b"'), (3, "3"), ([1, 2], "[1, 2]")]
)
def test_values(value, wanted):
    assert shown(value) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("overwrite=True replaces it", "--overwrite replaces it"), ("(drop_outliers=True)", "(--drop-outliers)"), ("cameras=... or", "--cameras or"),
        ('matches="none" places', "--matches none places"), ("sh_degree=3 cuts", "--sh-degree 3 cuts"), ("V=2 and K = [1]", "V=2 and K = [1]"),
    ],
)  # fmt: skip
def test_options(text, wanted):
    assert spelled_for_command_line(text) == wanted


def test_lists_end():
    assert listed(["a"]) == "a" and listed(list("abcde")) == "a, b, c and 2 more"


def test_every_option_in_a_message_is_one_of_the_command_line(capsys):
    """What Python calls name=True in a message is --name in the help of a command."""
    import re
    from pathlib import Path

    said = set()
    for file in Path(recon.__file__).parent.rglob("*.py"):
        for line in file.read_text().splitlines():
            if "Recipe(" not in line and ("raise " in line or "warning(" in line or line.lstrip().startswith(('f"', '"'))):
                said |= set(re.findall(r"\b([a-z][a-z_]*)=(?:True\b(?=[ )]))", line))
    known = ""
    for command in ("run", "convert", "render", "inspect"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known += capsys.readouterr().out
    assert {"overwrite", "repair", "drop_outliers"} <= said
    assert all("--" + name.replace("_", "-") in known for name in said), said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"\xff"), ("a.obj", b"v 1 x 2\n"), ("a.ply", b"plx"), ("a.splat", b"123"), ("a.glb", b"glTF\0\0\0\0"), ("a.npz", b"PK"),
        ("cameras.json", b'[{"fx": "a", "fy": 1, "width": 2, "height": null}]'), ("a.spz", b"NGSP"), ("transforms.json", b'{"frames": [3]}'),
        ("camera_path.json", b'{"camera_path": [{}]}'),
    ],
)  # fmt: skip
def test_messages_of_files_hold_no_python(tmp_path, name, content):
    import re

    (tmp_path / name).write_bytes(content)
    with pytest.raises(recon.ReconError) as caught:
        io.load(tmp_path / name)
    text = str(caught.value).replace(str(tmp_path), "")
    assert not re.search(r"<_io|\bNone\b|Error\b|dtype|\bb'|int64|float64|\bstr\b|codec", text), text
