"""A table of text, whatever file it was in."""

from __future__ import annotations

import pytest

from secagg.errors import InputError
from training.readers.table import Table


class Name(str):
    """A column's name that counts how often it is compared with another."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


def test_a_column_among_thousands_is_found_without_a_look_at_the_others():
    names = tuple(Name(f"gene-{number}") for number in range(2000))
    table = Table(names, (), (), "expressions.csv")
    assert [table.position(name) for name in names] == list(range(2000))
    assert Name.compared < len(names)


def test_of_a_table_of_thousands_an_error_names_some_of_the_columns_that_there_are():
    table = Table(tuple(f"gene-{number}" for number in range(2000)), (), (), "expressions.csv")
    with pytest.raises(InputError, match="gene-29 and 1970 more") as caught:
        table.position("age")
    assert caught.value.reason == "missing-column"
