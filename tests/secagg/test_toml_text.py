"""TOML of others: what it says, within bounds of time and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.charter import render_charter
from secagg.toml_text import read_toml, write_toml
from tests.support.consortium import make_charter, make_identities

LONG = "a." * 75_000 + "a"
HOSTILE = {
    "a long key": LONG + " = 1",
    "with blanks": "a . " * 75_000 + "a=1",
    "quoted": '"a".' * 75_000 + "a = 1",
    "in quotes of the other kind": "'a'." * 75_000 + "a = 1",
    "in an inline table": f"x = {{{LONG} = 1}}",
    "after a string that ends in a quote": f'y = {{x = """a"""", {LONG} = "c"}}',
    "after one of the other kind": f"y = {{x = '''a'''', {LONG} = 'c'}}",
    "after an escaped quote": f'y = {{x = "\\"", {LONG} = "c"}}',
    "after a quote in a comment": f'x = 1 # "\n{LONG} = 1 # "',
    "a table's name": f"[{LONG}]",
    "a long number": "x = " + "1" * 5000,
    "many brackets": "x = " + "[" * 50_000,
    "many inline tables": "x = " + "{a=" * 50_000,
}
# Looked at from each beginning of a string to the end, these would take hours.
UNCLOSED = {
    "strings of several lines": '\\"""\n' * 800_000,
    "strings of the other kind": "x = '''" + "''\n" * 800_000,
    "strings of one line": 'x = "' + '\\"' * 800_000,
    "strings of one line of the other kind": "'\n" * 800_000,
    "strings that begin each other": 'x = """' + '\\""' * 800_000,
}
LIMIT = 1 << 30
IN_A_GIGABYTE = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))
from secagg.errors import InputError
from secagg.charter import parse_charter
try:
    parse_charter(sys.stdin.buffer.read())
except InputError as error:
    print(error.reason)
"""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_takes_more_than_it_is_long_is_refused_at_once(text):
    started = time.process_time()
    with pytest.raises(ValueError, match=r"parts|digits|deeply"):
        read_toml(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", UNCLOSED.values(), ids=UNCLOSED.keys())
def test_what_is_never_closed_is_refused_at_once(text):
    started = time.process_time()
    with pytest.raises(tomllib.TOMLDecodeError):
        read_toml(text)
    assert time.process_time() - started < 10


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no limit on memory here")
def test_a_charter_of_anybodys_is_refused_in_little_memory():
    command = [sys.executable, "-c", IN_A_GIGABYTE]
    done = subprocess.run(command, input=HOSTILE["a long key"].encode(), capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split() == ["malformed-charter"]


ORDINARY = [
    "a.b.c = 1.5",
    'x = "' + "1.5, " * 100 + '"',
    "x = [" + "1.5, " * 100 + "]",
    "x = '''\n" + "a.b." * 100 + "\n'''",
    'x = """\n' + "a.b." * 100 + '"""" # ' + "c." * 100,
    "# " + "c." * 100,
    '"' + "c." * 100 + '" = 1',
    'x = """' + "c." * 100 + '"""""\ny = """"' + "c." * 100 + '""' + "c." * 100 + '\\""""',
    "x = '''" + "c." * 100 + "'''''\ny = ''''" + "c." * 100 + "''" + "c." * 100 + "'''",
    'x = [""""""]\ny = ["", "' + "c." * 100 + '"]',
    ".".join("abcdefghijklmnopqrstuvwxyz123456") + " = 1",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_dots_in_strings_numbers_and_comments_are_no_key(text):
    assert read_toml(text) == tomllib.loads(text)


def test_a_charter_of_many_members_is_read():
    text = render_charter(make_charter(make_identities(9))).decode()
    assert read_toml(text) == tomllib.loads(text)


@given(st.text(st.sampled_from("a.=\"'\\#[]{}, \n1"), max_size=40))
def test_a_text_is_read_as_tomllib_reads_it_or_refused_likewise(text):
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ValueError, match=r"."):
            read_toml(text)
    else:
        assert read_toml(text) == expected


# What is written ----------------------------------------------------------------------------------------------------

# With what looks like an array's beginning, end and next element, and what ends a line elsewhere.
TEXTS = st.text(st.sampled_from("a \"\\=[]{},\n\r\u2028\x85\x01'#"), max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(-(2**70), 2**70), st.booleans(), st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_is_written_is_read_back(content):
    assert read_toml(write_toml(content)) == content


def test_short_arrays_are_on_one_line_and_long_ones_have_a_line_for_each_element():
    text = write_toml({"age": [20, 90], "names": ["a", "b, c", "d", "= ["], "more": [1, 2, 3, 4, 5], "none": []})
    assert text.splitlines() == [
        "age = [20, 90]", 'names = ["a", "b, c", "d", "= ["]',
        "more = [", "    1,", "    2,", "    3,", "    4,", "    5,", "]", "none = []",
    ]  # fmt: skip


def test_arrays_and_tables_within_an_array_are_left_as_they_are():
    for content in ({"x": [[1, 2], [3]]}, {"x": [{"a": [1]}, {"b": 2}]}, {"x": [1, [2]]}):
        assert read_toml(write_toml(content)) == content


def test_what_is_none_is_left_out_of_sections_too():
    assert read_toml(write_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}
