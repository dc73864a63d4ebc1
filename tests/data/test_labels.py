"""Label rules against slow loops; their text form against itself."""

from itertools import product

import narwhals.stable.v2 as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invlearn.data.prepare.grammar import FORMS, parse_rule, parse_rules
from invlearn.data.prepare.labels import (
    Bound,
    Bounds,
    Column,
    Events,
    Given,
    Percentile,
    Ratio,
    Rule,
    labelled,
)
from invlearn.data.prepare.table import LABEL
from invlearn.runtime.errors import ConfigError

HOLDS = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}

names = st.one_of(
    st.sampled_from(
        ["by", "bins", "percentile", "events", "label", "signed", "a`b", '"', "é", "x"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
)
unit = st.floats(0, 1)
amounts = st.floats(0, allow_nan=False, allow_infinity=False)
reals = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def bounds(draw, quantity, values):
    """Bounds that do not contradict each other."""
    high, low = sorted([draw(values), draw(values)], reverse=True)
    upward = (Bound(draw(st.sampled_from([">", ">="])), high), Bound("<", low))
    downward = (Bound(draw(st.sampled_from(["<", "<="])), low), Bound(">", high))
    positive, negative = draw(st.sampled_from([upward, downward]))
    return Bounds(draw(quantity), positive, draw(st.sampled_from([negative, None])))


rules = st.one_of(
    bounds(st.builds(Column, names), amounts),
    bounds(st.builds(Column, names, st.just(True)), reals),
    bounds(st.builds(Ratio, names, names), reals),
    bounds(st.builds(Percentile, names, names, st.integers(1, 99)), unit),
    st.builds(
        lambda evidence: Events(tuple(evidence.items())),
        st.dictionaries(names, st.integers(0, 1), min_size=1, max_size=4),
    ),
    st.builds(Given, names),
)


@given(rules)
def test_a_rule_reads_back_what_it_prints(rule):
    assert parse_rule(str(rule)) == rule


def test_every_form_shown_to_people_can_be_read_and_prints_as_shown():
    assert [str(rule) for rule in parse_rules(FORMS)] == list(FORMS)


def test_space_and_quotes_do_not_matter():
    written = [
        "`watch time`/'video \"length\"'>=.5,<1e-1",
        '"watch time" / `video "length"`  >= 0.5 , < 0.1 ',
    ]
    first, second = parse_rules(written)
    assert (
        first
        == second
        == Bounds(Ratio("watch time", 'video "length"'), Bound(">=", 0.5), Bound("<", 0.1))
    )


@pytest.mark.parametrize(
    ("text", "position", "expected", "found"),
    [
        ("", 1, "a column", "the end"),
        ("rating", 7, "one of > >= < <=", "the end"),
        ("rating >> 2", 9, "a number", "'>'"),
        ("rating = 2", 8, "one of > >= < <=", "'='"),
        ("rating > two", 10, "a number", "'two'"),
        ("rating > 2 stars", 12, "the end of the rule", "'stars'"),
        ("watch-time > 2", 6, "one of > >= < <=", "'-time > 2'"),
        ("rating > 2, 1", 13, "one of > >= < <=", "'1'"),
        ("3 / b > 2", 1, "a column", "'3'"),
        ("events(like)", 12, "'='", "')'"),
        ("events(like=2.5)", 13, "the label 0 or 1", "'2.5'"),
        ("events(like=1", 14, "')'", "the end"),
        ("label(a, b)", 8, "')'", "','"),
        ("percentile(a, b) > 0.5", 13, "'by'", "','"),
        ("percentile(a by b, bins=x) > 0.5", 25, "a whole number of bins", "'x'"),
        ("centile(a by b) > 0.5", 1, "events, label, percentile, signed or a column", "'centile'"),
        ("`open > 2", 1, "a column", "'`open > 2'"),
    ],
)
def test_an_unreadable_rule_says_where_and_shows_the_forms(text, position, expected, found):
    with pytest.raises(ConfigError) as caught:
        parse_rule(text)
    message = str(caught.value)
    assert f"'{text}' cannot be read at character {position}: " in message
    assert f"expected {expected}, found {found}; write a rule such as rating > 2 | " in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x > 1, < 2", "contradicts itself"),
        ("percentile(a by b) >= 80", "percentiles lie between 0 and 1"),
        ("percentile(a by b, bins=0) > 0.5", "at least one bin"),
        ("events(a=1, a=0)", "none twice"),
        ("events(a=3)", "label 1 or 0"),
        ("x > 1e999", "finite"),
        ("x > -1", "write signed(x)"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(text, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace(")", r"\)")):
        parse_rule(text)


def test_no_rule_is_refused():
    with pytest.raises(ConfigError, match="no label rule"):
        parse_rules([])


@pytest.mark.parametrize(("first", "second"), list(product(HOLDS, HOLDS)))
@pytest.mark.parametrize(("low", "high"), [(1, 2), (2, 1), (1, 1)])
def test_bounds_contradict_exactly_when_some_value_satisfies_both(first, second, low, high):
    values = [0, low, high, 1.5, 3]
    both = any(HOLDS[first](value, low) and HOLDS[second](value, high) for value in values)
    try:
        Bounds(Column("x"), Bound(first, low), Bound(second, high))
        refused = False
    except ConfigError:
        refused = True
    assert refused == both


# Rules against slow loops

rows = st.lists(
    st.fixed_dictionaries(
        {
            "watch": st.sampled_from([0, 1, 2, 3, 5, 8, 13]),
            "duration": st.sampled_from([1, 2, 3, 4, 8]),
            "like": st.sampled_from([0, 1, None]),
            "hate": st.sampled_from([True, False, None]),
            "given": st.sampled_from([0, 1, None]),
        }
    ),
    min_size=1,
    max_size=30,
)

SCHEMA = {
    "watch": pl.Int64,
    "duration": pl.Int64,
    "like": pl.Int64,
    "hate": pl.Boolean,
    "given": pl.Int64,
}


def slow_value(quantity, row, log):
    if isinstance(quantity, Column):
        return row[quantity.name]
    if isinstance(quantity, Ratio):
        return row[quantity.top] / row[quantity.bottom]

    def place(other):
        ahead = sum(third[quantity.by] < other[quantity.by] for third in log)
        return ahead * quantity.bins // len(log)

    value = row[quantity.name]
    mates = [other[quantity.name] for other in log if place(other) == place(row)]
    below, equal = sum(mate < value for mate in mates), mates.count(value)
    return (below + equal / 2) / len(mates)


def slow_label(rule: Rule, row, log):
    if isinstance(rule, Given):
        return row[rule.name]
    if isinstance(rule, Events):
        return next((label for name, label in rule.evidence if row[name]), None)
    value = slow_value(rule.quantity, row, log)
    if HOLDS[rule.positive.operator](value, rule.positive.value):
        return 1
    if rule.negative is None:
        return 0
    return 0 if HOLDS[rule.negative.operator](value, rule.negative.value) else None


def fast_labels(texts, log):
    frame = pl.DataFrame(log, schema=SCHEMA).lazy().with_row_index("row")
    found = labelled(nw.from_native(frame), parse_rules(texts)).collect().sort("row")
    assert found.columns == ["row", *SCHEMA, LABEL]
    assert found[LABEL].dtype == nw.Int8
    return found[LABEL].to_list()


@pytest.mark.parametrize(
    "text",
    [
        "watch > 2",
        "watch <= 2, > 5",
        "watch >= 5, < 2",
        "watch / duration >= 1.5, < 0.5",
        "watch / duration < 1",
        "percentile(watch by duration) >= 0.5, < 0.25",
        "percentile(watch by duration, bins=2) > 0.6",
        "events(hate=0, like=1)",
        "events(like=1, hate=0)",
        "label(given)",
    ],
)
@given(log=rows)
@settings(max_examples=25, deadline=None)
def test_each_rule_labels_as_a_slow_loop_does(text, log):
    rule = parse_rule(text)
    assert fast_labels(text, log) == [slow_label(rule, row, log) for row in log]


@given(rows)
@settings(max_examples=25, deadline=None)
def test_the_first_rule_with_an_opinion_decides(log):
    texts = ["events(hate=0)", "label(given)", "watch >= 5, < 2"]
    rules = parse_rules(texts)
    expected = []
    for row in log:
        labels = [slow_label(rule, row, log) for rule in rules]
        expected.append(next((label for label in labels if label is not None), None))
    assert fast_labels(texts, log) == expected


def test_equal_durations_share_a_bin_and_bins_are_of_about_equal_size():
    log = [
        {"watch": place, "duration": place // 10, "like": 0, "hate": None, "given": None}
        for place in range(100)
    ]
    # ten durations of ten rows, ten bins: the best half of each duration is positive
    labels = fast_labels("percentile(watch by duration, bins=10) > 0.5", log)
    assert labels == ([0] * 5 + [1] * 5) * 10
