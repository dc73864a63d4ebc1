"""Parser of label rules; inverse of `str(rule)`.

```
rule      quantity bound ["," bound]  |  events(column=0|1, ...)  |  label(column)
quantity  column  |  signed(column)  |  column / column  |  percentile(column by column [, bins=N])
bound     (> | >= | < | <=) number
```
A column name that is not a plain word is written in backticks or quotes; double them to escape
them.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from invlearn.data.prepare.labels import (
    Bound,
    Bounds,
    Column,
    Events,
    Given,
    Operator,
    Percentile,
    Quantity,
    Ratio,
    Rule,
)
from invlearn.runtime.errors import ConfigError

FORMS = (
    "rating > 2",
    "watch_ratio >= 1.5, < 0.2",
    "play_time_ms / duration_ms >= 1.5, < 0.2",
    "percentile(play_time_ms by duration_ms) >= 0.8, < 0.2",
    "events(is_hate=0, is_like=1)",
    "label(column)",
)
"""One example of each form, for errors and help texts."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<word>[^\W\d][\w.]*)
    | (?P<quoted>`(?:[^`]|``)+` | "(?:[^"]|"")+" | '(?:[^']|'')+')
    | (?P<sign>>=|<=|[<>(),=/])
    )""",
    re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


def parse_rules(texts: Sequence[str | Rule] | str | Rule) -> tuple[Rule, ...]:
    """Parse label rules, strongest first; `Rule` objects are returned unchanged.

    Raises:
        ConfigError: No rule is given, or one cannot be parsed.
    """
    if isinstance(texts, str | Rule):
        texts = [texts]
    if not texts:
        raise ConfigError(f"no label rule was given; write one such as {' | '.join(FORMS)}")
    return tuple(parse_rule(text) if isinstance(text, str) else text for text in texts)


def parse_rule(text: str) -> Rule:
    """Parse one label rule.

    Raises:
        ConfigError: The text is not a rule, or its bounds contradict each other.

    Example:
        >>> parse_rule("watch_ratio >= 1.5, < 0.2").negative
        Bound(operator='<', value=0.2)
        >>> str(parse_rule("events( is_hate = 0,is_like=1 )"))
        'events(is_hate=0, is_like=1)'
    """
    return _Reader(text).rule()


class _Reader:
    """Recursive-descent parser of one rule."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.next = 0

    def rule(self) -> Rule:
        match self._function():
            case "events":
                evidence = [self._event()]
                while self._accept("sign", ","):
                    evidence.append(self._event())
                self._literal(")")
                rule = Events(tuple(evidence))
            case "label":
                rule = Given(self._argument())
            case function:
                quantity, positive = self._quantity(function), self._bound()
                negative = self._bound() if self._accept("sign", ",") else None
                rule = Bounds(quantity, positive, negative)
        self._expect("the end of the rule", "end")
        return rule

    def _function(self) -> str | None:
        """Return the name of the function that begins here; a column may have the same name."""
        word, opening = self.tokens[0], self.tokens[min(1, len(self.tokens) - 1)]
        if word.kind == "word" and opening.text == "(" and opening.kind == "sign":
            self.next = 2
            return word.text
        return None

    def _quantity(self, function: str | None) -> Quantity:
        match function:
            case None:
                name = self._column()
                if self._accept("sign", "/"):
                    return Ratio(name, self._column())
                return Column(name)
            case "signed":
                return Column(self._argument(), signed=True)
            case "percentile":
                name = self._column()
                self._literal("by")
                by, bins = self._column(), 20
                if self._accept("sign", ","):
                    self._literal("bins", "=")
                    bins = self._whole("a whole number of bins")
                self._literal(")")
                return Percentile(name, by, bins)
            case _:
                self.next = 0
                raise self._error("events, label, percentile, signed or a column")

    def _bound(self) -> Bound:
        operator = self._expect("one of > >= < <=", "sign", ">", ">=", "<", "<=")
        return Bound(cast(Operator, operator), float(self._expect("a number", "number")))

    def _event(self) -> tuple[str, int]:
        name = self._column()
        self._literal("=")
        return name, self._whole("the label 0 or 1")

    def _argument(self) -> str:
        """Return the only argument of a function, a column."""
        column = self._column()
        self._literal(")")
        return column

    def _column(self) -> str:
        if quoted := self._accept("quoted"):
            return quoted[1:-1].replace(quoted[0] * 2, quoted[0])
        return self._expect("a column", "word")

    def _whole(self, wanted: str) -> int:
        if not self.tokens[self.next].text.isdecimal():
            raise self._error(wanted)
        return int(self._expect(wanted, "number"))

    def _literal(self, *texts: str) -> None:
        """Read these words and signs."""
        for text in texts:
            self._expect(f"'{text}'", "word" if text.isalpha() else "sign", text)

    def _expect(self, wanted: str, kind: str, *texts: str) -> str:
        """Return the text of the next token, which must be of a kind, and one of `texts` if any."""
        text = self._accept(kind, *texts)
        if text is None:
            raise self._error(wanted)
        return text

    def _accept(self, kind: str, *texts: str) -> str | None:
        """Return the text of the next token if it is as described, otherwise stay there."""
        token = self.tokens[self.next]
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self.next += 1
        return token.text

    def _error(self, wanted: str) -> ConfigError:
        token = self.tokens[self.next]
        found = f"'{token.text}'" if token.text else "the end"
        return ConfigError(
            f"label rule '{self.text}' cannot be read at character {token.start + 1}: expected "
            f"{wanted}, found {found}; write a rule such as {' | '.join(FORMS)} (and a column name "
            "with spaces or signs in backticks)"
        )


def _tokens(text: str) -> list[_Token]:
    """Return the tokens of a rule; the last is of the kind `end`, or `unreadable`."""
    tokens: list[_Token] = []
    text, position = text.rstrip(), 0
    while position < len(text) and (found := _TOKEN.match(text, position)):
        kind = cast(str, found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind)))
        position = found.end()
    rest = text[position:].lstrip()
    return [*tokens, _Token("unreadable" if rest else "end", rest, len(text) - len(rest))]
