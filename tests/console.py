"""The command line, called as a person would, inside the process of the tests."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from invlearn.cli.main import main

RULE = "play_time_ms / duration_ms >= 1.5, < 0.4"
IDS = ("--user", "user_id", "--item", "video_id")


class Answer(NamedTuple):
    """What a command left: its exit code, and what it said where."""

    code: int
    out: str
    err: str


def call(*arguments, columns=80):
    """Call the command line; never raises what a person would see as a traceback, but fails."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    path, width = list(sys.path), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.path[:] = path
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width
    return Answer(code, out.getvalue(), err.getvalue())


def done(*arguments):
    """Call the command line; it must go well."""
    answer = call(*arguments)
    assert answer.code == 0, answer.err
    assert not answer.err
    return answer.out


def contents(folder):
    """Every file and folder below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
