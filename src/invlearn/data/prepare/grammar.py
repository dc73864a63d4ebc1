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
        raise ConfigError(f"no label rule was given; write one such as {_forms()}")
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
        self.tokens = self._tokens()
        self.next = 0

    def rule(self) -> Rule:
        match self._function():
            case "events":
                rule = Events(self._evidence())
            case "label":
                rule = Given(self._column())
                self._sign(")")
            case function:
                rule = self._bounds(self._quantity(function))
        if self._peek().kind != "end":
            raise self._error("the end of the rule")
        return rule

    def _function(self) -> str | None:
        """Return the name of the function that begins here; a column may have the same name."""
        word, opening = self.tokens[self.next], self.tokens[min(1, len(self.tokens) - 1)]
        if word.kind == "word" and opening.text == "(" and opening.kind == "sign":
            self.next += 2
            return word.text
        return None

    def _quantity(self, function: str | None) -> Quantity:
        match function:
            case None:
                column = self._column()
                return Ratio(column, self._column()) if self._took("/") else Column(column)
            case "signed":
                column = self._column()
                self._sign(")")
                return Column(column, signed=True)
            case "percentile":
                return self._percentile()
            case _:
                self.next = 0
                raise self._error("events, label, percentile, signed or a column")

    def _percentile(self) -> Percentile:
        name = self._column()
        self._word("by")
        by = self._column()
        bins = 20
        if self._took(","):
            self._word("bins")
            self._sign("=")
            bins = self._whole("a whole number of bins")
        self._sign(")")
        return Percentile(name, by, bins)

    def _bounds(self, quantity: Quantity) -> Bounds:
        positive = self._bound()
        return Bounds(quantity, positive, self._bound() if self._took(",") else None)

    def _bound(self) -> Bound:
        operator = self._peek().text
        if self._peek().kind != "sign" or operator not in (">", ">=", "<", "<="):
            raise self._error("one of > >= < <=")
        self.next += 1
        return Bound(operator, float(self._take("number", "a number")))

    def _evidence(self) -> tuple[tuple[str, int], ...]:
        evidence = [self._event()]
        while self._took(","):
            evidence.append(self._event())
        self._sign(")")
        return tuple(evidence)

    def _event(self) -> tuple[str, int]:
        name = self._column()
        self._sign("=")
        return name, self._whole("the label 0 or 1")

    def _column(self) -> str:
        token = self._peek()
        if token.kind == "quoted":
            self.next += 1
            mark = token.text[0]
            return token.text[1:-1].replace(mark * 2, mark)
        return self._take("word", "a column")

    def _whole(self, wanted: str) -> int:
        if not self._peek().text.isdecimal():
            raise self._error(wanted)
        return int(self._take("number", wanted))

    def _word(self, word: str) -> None:
        if self._peek().text != word:
            raise self._error(f"'{word}'")
        self._take("word", f"'{word}'")

    def _sign(self, sign: str) -> None:
        if not self._took(sign):
            raise self._error(f"'{sign}'")

    def _took(self, sign: str) -> bool:
        found = self._peek().kind == "sign" and self._peek().text == sign
        self.next += found
        return found

    def _take(self, kind: str, wanted: str) -> str:
        token = self._peek()
        if token.kind != kind:
            raise self._error(wanted)
        self.next += 1
        return token.text

    def _peek(self) -> _Token:
        return self.tokens[self.next]

    def _tokens(self) -> list[_Token]:
        tokens: list[_Token] = []
        text, position = self.text.rstrip(), 0
        while position < len(text) and (found := _TOKEN.match(text, position)):
            kind = cast(str, found.lastgroup)
            tokens.append(_Token(kind, found[kind], found.start(kind)))
            position = found.end()
        rest = text[position:].lstrip()
        tokens.append(_Token("unreadable" if rest else "end", rest, len(text) - len(rest)))
        return tokens

    def _error(self, wanted: str) -> ConfigError:
        token = self._peek()
        found = f"'{token.text}'" if token.text else "the end"
        return ConfigError(
            f"label rule '{self.text}' cannot be read at character {token.start + 1}: expected "
            f"{wanted}, found {found}; write a rule such as {_forms()}"
        )


def _forms() -> str:
    return " | ".join(FORMS)
