"""Certificates name numbers, not hospitals."""

from __future__ import annotations

import pytest

from secagg.errors import InputError
from training.engines.nvflare.sites import member_number, organisation, site_name


@pytest.mark.parametrize("number", [1, 9, 10, 99, 100, 1000])
def test_a_site_is_a_member_s_number_and_back(number):
    assert member_number(site_name(number)) == number


def test_sites_of_a_hundred_sort_as_their_numbers():
    assert [site_name(number) for number in (1, 12)] == ["hospital-01", "hospital-12"]
    assert organisation(3) == "hospital_03"


@pytest.mark.parametrize("name", ["hospital-1", "hospital-00", "hospital-010", "coordinator", "hospital-01x", ""])
def test_no_other_name_is_a_member_s(name):
    with pytest.raises(InputError) as refused:
        member_number(name)
    assert refused.value.reason == "unknown-site"
