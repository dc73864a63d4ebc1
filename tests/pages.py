"""Pages that show what their examples print: run again, compared, and renewed on request.

In a `console` block each line after `$ ` is a command (a backslash at its end goes on with it), and
the lines that follow are what it prints; a command that is told off by `error:` must leave with
exit code 2. Its long lines are folded as a terminal of 80 columns would, and the folder is called
`/home/you`. A `python` block is executed, and a `text` block right below it is what it prints. All
blocks of a page work in one folder, which is empty at first. `<!-- not run: why -->` before a block
leaves it, and the `text` block below it, as they are.
"""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from itertools import zip_longest
from math import isclose
from pathlib import Path
from textwrap import fill
from types import ModuleType

from console import call

BLOCK = re.compile(
    r"(?P<left><!-- not run[^\n]*\n+)?```(?P<language>console|python)\n(?P<code>.*?)```"
    r"(?P<shown>\n+```text\n(?P<printed>.*?)```)?",
    re.DOTALL,
)
COMMAND = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", re.MULTILINE)
DECIMAL = re.compile(r"[-+]?\d*\.\d+")
VOLATILE = re.compile(r"best of \d+ epochs is \d+")
"""What a processor of another make may round elsewhere."""


def replayed(text, folder, monkeypatch):
    """The page's text with what its examples print now."""
    monkeypatch.chdir(folder)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)

    def again(block):
        if block["left"]:
            return block[0]
        if block["language"] == "console":
            code = COMMAND.sub(lambda c: f"$ {c[1]}\n{printed_by(c[1], c[2])}", block["code"])
            return f"```console\n{code}```{block['shown'] or ''}"
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(block["code"], "<page>", "exec"), module.__dict__)
        shown = f"\n\n```text\n{tidy(out.getvalue())}```" if block["shown"] else ""
        assert block["shown"] or not out.getvalue(), f"not shown: {out.getvalue()}"
        return f"```python\n{block['code']}```{shown}"

    return BLOCK.sub(again, text)


def printed_by(command, shown):
    """What a command prints; it must go well, unless it is shown to be told off."""
    words = command.replace("\\\n", " ")
    if words.startswith("invlearn "):
        answer = call(*shlex.split(words)[1:])
        code, said = answer.code, answer.out + answer.err
    else:
        done = subprocess.run(
            ["bash", "-c", words], capture_output=True, text=True, timeout=60, check=False
        )
        code, said = done.returncode, done.stdout + done.stderr
    assert code == (2 if shown.startswith("error:") else 0), f"{words}: {said}"
    return tidy(said)


def tidy(said):
    """Lines without blanks at their ends, long ones folded, and without empty ones around them."""
    here = said.replace(str(Path.cwd()), "/home/you").splitlines()
    folded = [
        fill(line, 80, break_on_hyphens=False, break_long_words=False) if len(line) > 80 else line
        for line in map(str.rstrip, here)
    ]
    lines = "\n".join(folded).strip("\n")
    return f"{lines}\n" if lines else ""


def disagreement(shown, real, *, within=0.015):
    """The first line that differs by more than the last digits of decimal numbers, or nothing."""
    for pair in zip_longest(shown.splitlines(), real.splitlines(), fillvalue=""):
        words = [DECIMAL.sub("#", VOLATILE.sub("best", line)).split() for line in pair]
        numbers = [[float(n) for n in DECIMAL.findall(VOLATILE.sub("best", x))] for x in pair]
        near = (isclose(a, b, rel_tol=0.03, abs_tol=within) for a, b in zip(*numbers, strict=False))
        if words[0] != words[1] or not all(near):
            return pair
    return None
