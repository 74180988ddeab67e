"""A short form of `python tests/fuzz.py`, whose inputs hypothesis draws, and shrinks where one is a finding.

`python tests/fuzz.py --formats NAME` has many more, in processes of bounded memory.
"""

import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fuzz
import fuzz_damage
from fuzz_formats import FORMATS, make_base
from sctd.errors import UserError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole") / "base"
    make_base(place)
    return place


@pytest.fixture
def inputs(base, tmp_path, monkeypatch, request):
    """The inputs of a format, none of which is large; what its reader replaced is put back."""
    from sctd import recipe
    from sctd.scores import blimp, encoder, jobs, probe

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(fuzz_damage, "BOMB", 8)
    monkeypatch.setattr(fuzz_damage, "LONG_LINE", 2**20)
    replaced = ((recipe, "check_settings"), (recipe, "parse_yaml"), (encoder, "load_encoder"), (jobs, "run_job"))
    for module, name in (
        *(*replaced, (encoder.Encoder, "network")),
        *((blimp, "score_set"), (probe, "probe_network")),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    before = signal.signal(signal.SIGPROF, fuzz._hang)
    yield fuzz.Inputs(FORMATS[request.param], base, tmp_path / "inputs", seed=1)
    signal.signal(signal.SIGPROF, before)
    vars(recipe).pop("_read_once", None)


def read(inputs, count):
    @settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(st.randoms(use_true_random=False))
    def each(chance):
        inputs.restore()
        error = inputs.read(chance)
        if error is not None and not isinstance(error, UserError):
            raise error

    each()


@pytest.mark.parametrize("inputs", FORMATS, indirect=True, ids=str)
def test_a_damaged_file_is_read_or_refused_in_a_sentence_and_nothing_is_overwritten(inputs):
    read(inputs, inputs.made.quick)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", FORMATS, indirect=True, ids=str)
def test_so_are_many_more(inputs):
    read(inputs, 500)


def test_what_is_found_is_counted_and_the_rest_of_the_inputs_are_still_read(tmp_path, base):
    found = fuzz.run_format("overlap.json", 20, 1, base, tmp_path)
    assert (found["inputs"], found["findings"]) == (20, [])
    assert found["well"] + found["refused"] == 20
    assert "| overlap.json | 20 |" in fuzz.rows({"overlap.json": found})
