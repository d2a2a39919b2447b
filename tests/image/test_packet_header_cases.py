"""Files without PLT, whose packets lie where their packet headers say, are read as OpenJPEG decodes them."""

import re

import pytest
from long_exactness import report

from support.children import Child
from support.packet_header_cases import packet_header_case, packet_header_mutation


@pytest.fixture(scope="module")
def cases():
    with Child() as child:
        return [child.call(packet_header_case, seed) for seed in range(80)]


def test_a_seed_always_gives_the_same_case(cases):
    with Child() as child:
        assert [child.call(packet_header_case, seed) for seed in range(3)] == cases[:3]
        first = child.call(packet_header_mutation, 1)
        assert first == child.call(packet_header_mutation, 1)
    assert first.data != first.base.data


def test_no_case_has_packet_lengths(cases):
    assert all("no PLT" in case.facts for case in cases)


def test_cases_tell_where_packets_lie(cases):
    for case in cases:
        assert sum(sum(lengths) for _, lengths in case.packets) < len(case.data)
    lengths = [length for case in cases for _, some in case.packets for length in some]
    assert 0.1 < sum(length <= 1 for length in lengths) / len(lengths) < 0.6  # empty packets


def test_cases_are_of_all_kinds(cases):
    text = "\n".join(case.description for case in cases)
    for pattern in ("LRCP RLCP RPCL PCRL CPRL", "flat noise spots landscape", "tile=None JP2 TLM POC cut"):
        assert [word for word in pattern.split() if word not in text] == []
    for name in ("layers", "levels", "style"):
        assert len(set(re.findall(rf"{name}=\d+", text))) >= 5


def test_cases_are_read_exactly(workshops):
    found = list(workshops.cases("header", range(12), windows=1))
    assert not any(case.failures for case in found), report(found, 0)
