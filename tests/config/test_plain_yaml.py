"""What a configuration's YAML means, and what it may not hold."""

import pytest

from distill.config.plain_yaml import parse_yaml

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.e3", 1000.0),
        (".5", 0.5),
        ("-7", -7),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ('"1"', "1"),
    ],
)
def test_a_word_is_a_number_or_a_truth_value_only_where_it_looks_like_one(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


def test_a_key_is_a_name_whatever_it_looks_like():
    assert parse_yaml("{1: a, no: b, null: c, 1e3: d}") == {"1": "a", "no": "b", "null": "c", "1e3": "d"}


def test_a_merge_key_takes_over_what_is_not_set_beside_it():
    assert parse_yaml("base: &base {a: 1, b: 2}\nnew: {<<: *base, b: 3}")["new"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa: 1", "a: 1".encode("utf-16"), b"a: 1\r\n"])
def test_a_file_of_another_editor_reads_the_same(text):
    assert parse_yaml(text) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("root: {{ DATA }}", "a template left unfilled"),
        ("? [a, b]\n: c", "a key must be a word"),
        ("{a: 1, a: 2}", "'a' stands there twice"),
        ("{a: 1, 'a': 2}", "'a' stands there twice"),
        ("a:\n\t- b", "indent with spaces (line 2"),
        ("a: !!python/object/apply:os.getcwd []", "put it into quotes"),
        ("a: !<tag:yaml.org,2002:timestamp> x", "put it into quotes"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        (LAUGHS, "repeat more than"),
        ("a: &a [*a]", "or themselves"),
        ("a: *b", "undefined alias 'b' (line 1"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: " + "1" * 5000, "5000 digits"),
        ('a: "\\0"', "no text"),
        ('a: "\\ud800"', "no text"),
        ("a: \x00", "unacceptable character"),
        (b"a: \xff", "invalid start byte"),
        ("a: [1", "expected ',' or ']'"),
        ("<<: 1", "expected a mapping"),
    ],
)
def test_what_would_surprise_or_never_end_is_refused_in_one_line(text, reason):
    with pytest.raises(ValueError, match=r"^.+$") as refused:
        parse_yaml(text)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 250
