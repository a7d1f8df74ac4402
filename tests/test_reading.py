"""Records read many at a time are the records read one at a time, and nothing that was tampered with gets through."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddbench import reading
from ddbench.errors import ArtefactDamaged
from ddbench.reading import RecordReader, no_search_for_cycles
from ddbench.records import checksum, read_record, record_text
from handmade import nested, record


def text_of(one) -> bytes:
    return record_text(one.sealed().model_dump(mode="json"))


@pytest.fixture
def plain(monkeypatch):
    """Fail where a text is left to the plain reader."""

    def never(*_, **__):
        raise AssertionError("left to the plain reader")

    monkeypatch.setattr(reading, "read_record", never)


def test_records_read_together_equal_those_read_alone(plain):
    reader = RecordReader()
    for one in nested("random", [[0.1, 0.2], [0.3, 0.4]]) + nested("dwa", [[0.5, 0.6]]):
        read = reader.read(text_of(one))
        assert read == read_record(text_of(one)) == one.sealed()
        assert type(read.training.curve) is tuple


def test_what_two_records_have_in_common_is_kept_once():
    reader = RecordReader()
    first, second = (reader.read(text_of(one)) for one in nested("dwa", [[0.5, 0.6]]))
    assert first.key != second.key
    assert first.dataset is second.dataset
    assert first.options["synthesizer"] is second.options["synthesizer"]


def test_a_record_laid_out_otherwise_is_read_as_well():
    content = record().sealed().model_dump(mode="json")
    for text in (json.dumps(content), json.dumps(content, indent=1), json.dumps(content, indent=4, sort_keys=True)):
        assert RecordReader().read(text.encode()) == read_record(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"smoke":false', b'"smoke":true'),
        (b'"smoke":false,\n', b'"smoke":false,\n"smoke":true,\n'),
        (b'"smoke":false,\n', b'"smoke":false,"smoke":true,\n'),
        (b'"ipc":10', b'"ipc":10,"ipc":7'),
        (b'"schema_version":3', b'"schema_version":99'),
        (b'"schema_version":3', b'"schema_version":"3"'),
        (b'"images":', b'"images":NaN,\n"images":'),
        (b"\n}\n", b""),
        (b"\n}\n", b"\n}\n}\n"),
        (b'"sha256":"', b'"sha256":"0'),
    ],
)
def test_a_changed_text_is_refused_also_after_the_whole_one_was_read(old, new):
    reader, text = RecordReader(), text_of(record())
    reader.read(text)
    assert text.count(old) >= 1
    with pytest.raises(ArtefactDamaged):
        reader.read(text.replace(old, new))


def test_a_shared_field_of_a_wrong_type_is_refused_and_not_kept():
    reader = RecordReader()
    content = record().model_dump(mode="json") | {"images": "many"}
    content["sha256"] = checksum(content)
    for _ in range(2):
        with pytest.raises(ArtefactDamaged, match="images"):
            reader.read(record_text(content))


@given(st.binary(max_size=40), st.integers(0, 3000))
def test_bytes_put_anywhere_are_read_as_the_plain_reader_does(noise, place):
    reader, text = RecordReader(), text_of(record())
    reader.read(text)
    place %= len(text)
    changed = text[:place] + noise + text[place:]
    try:
        expected = read_record(changed)
    except ArtefactDamaged:
        with pytest.raises(ArtefactDamaged):
            reader.read(changed)
    else:
        assert reader.read(changed) == expected


def test_the_search_for_cycles_is_on_again_also_after_an_error():
    def fail():
        with no_search_for_cycles():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
