"""Part names: the shipped pairs, a user's, and those of a language model, which is not believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidaff.datasets.agd20k.classes import AFFORDANCES, OBJECTS
from vidaff.errors import VidaffError
from vidaff.labels.part_names import (
    missing_pairs,
    object_query,
    part_queries,
    prompt_text,
    read_answer,
    read_pairs,
    read_part_names,
    write_part_names,
)

ROWS = [
    {"affordance": "hold", "object": "kettle", "parts": ["Kettle  Handle"]},
    {"affordance": "ride", "object": "tricycle", "parts": ["tricycle seat", "tricycle pedal"]},
]
PAIRS = [("hold", "kettle"), ("ride", "tricycle")]


def test_the_124_pairs_of_agd20k_are_shipped():
    names = read_part_names()
    assert len(names) == 124
    assert {affordance for affordance, _ in names} == set(AFFORDANCES)
    assert {thing for _, thing in names} == set(OBJECTS)
    assert part_queries(names, "cut_with", "knife") == ("knife blade",)
    assert part_queries(names, "catch", "soccer_ball") == ("soccer ball",)
    assert part_queries(names, "ride", "motorcycle") == (
        "motorcycle handlebars", "motorcycle seat", "motorcycle footrest",
    )  # fmt: skip


@pytest.mark.real
def test_the_shipped_pairs_are_those_of_the_released_code(shared_dir):
    import yaml

    lines = yaml.safe_load((shared_dir / "specs" / "part_names.yaml").read_text())["part_names"]
    theirs = {
        (verb, thing): sorted(text.split(".")) for verb, things in lines.items() for thing, text in things.items()
    }
    assert {pair: sorted(words) for pair, words in read_part_names().items()} == theirs


def test_a_pair_without_a_name_is_an_error_that_says_what_to_do():
    with pytest.raises(VidaffError, match=r"no part name for 'hold' of 'kettle'.*vidaff label parts"):
        part_queries(read_part_names(), "hold", "kettle")
    assert object_query("soccer_ball") == "soccer ball"


def test_a_users_file_overrides_pair_by_pair(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "parts:\n  knife:\n    knife edge: [cut_with]\n  kettle:\n    kettle handle: [hold]\nwhole:\n  cup: [hold]\n"
    )
    names = read_part_names([file])
    assert part_queries(names, "cut_with", "knife") == ("knife edge",)
    assert part_queries(names, "hold", "knife") == ("knife handle",)
    assert part_queries(names, "hold", "kettle") == ("kettle handle",)
    assert part_queries(names, "hold", "cup") == ("cup",)
    assert len(names) == 125


def test_missing_pairs_of_a_csv(tmp_path):
    file = tmp_path / "pictures.csv"
    file.write_bytes(
        "\ufeffimage,object,affordance\na.jpg,kettle,hold\nb.jpg,knife,cut_with\nc.jpg,kettle , hold\n".encode()
    )
    assert read_pairs(file) == [("cut_with", "knife"), ("hold", "kettle")]
    assert missing_pairs(read_pairs(file), read_part_names()) == [("hold", "kettle")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column 'affordance'"),
        (b"image,object\na.jpg,cup\n", "column 'affordance'"),
        (b"object,affordance\ncup,hold\ncup,\n", "line 3"),
        (b"object,affordance\ncup\n", "line 2"),
        (b"\xff\xfe\x00", "CSV"),
    ],
)
def test_broken_csv(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(VidaffError, match=message):
        read_pairs(tmp_path / "x.csv")
    with pytest.raises(VidaffError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")


def test_the_prompt_holds_every_pair_and_its_examples_are_valid_answers(tmp_path):
    text = prompt_text(PAIRS)
    assert text.rstrip().endswith('{"affordance": "ride", "object": "tricycle"}')
    examples = [line for line in text.splitlines() if '"parts": [' in line]
    (tmp_path / "examples.txt").write_text("\n".join(examples))
    answers = read_answer(tmp_path / "examples.txt")
    shipped = read_part_names()
    assert len(answers) == 4
    assert all(sorted(words) == sorted(shipped[pair]) for pair, words in answers.items())


@pytest.mark.parametrize("form", ["{array}", "{lines}", "Here you are:\n```json\n{array}\n```\nAnything else?"])
def test_answers_in_the_forms_that_models_give(tmp_path, form):
    text = form.replace("{array}", json.dumps(ROWS, indent=1))
    text = text.replace("{lines}", ",\n".join(json.dumps(row) for row in ROWS))
    (tmp_path / "answer.txt").write_text(text)
    found = read_answer(tmp_path / "answer.txt", PAIRS)
    assert found == {PAIRS[0]: ("kettle handle",), PAIRS[1]: ("tricycle seat", "tricycle pedal")}


def row(**changes):
    return {**ROWS[0], **changes}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row()], "'ride' of 'tricycle' is not answered"),
        ([*ROWS, row(object="spoon")], "'hold' of 'spoon' was not asked for"),
        ([*ROWS, row()], "twice"),
        ([row(parts=[]), ROWS[1]], "0.parts"),
        ([row(parts="kettle handle"), ROWS[1]], "0.parts"),
        ([row(parts=["handle. kettle"]), ROWS[1]], "no name"),
        ([row(parts=["the part of the kettle that one holds"]), ROWS[1]], "no name of 1 to 6 words"),
        ([row(parts=["kettle handle", "Kettle handle"]), ROWS[1]], "twice"),
        ([row(parts=[3]), ROWS[1]], "0.parts.0"),
        ([row(colour="red"), ROWS[1]], "0.colour"),
        ([{"affordance": "hold"}, ROWS[1]], "0.object"),
        ({}, "answer"),
        ([], "answer"),
    ],
)
def test_wrong_answers_are_refused(tmp_path, rows, message):
    (tmp_path / "answer.json").write_text(json.dumps(rows))
    with pytest.raises(VidaffError, match=message):
        read_answer(tmp_path / "answer.json", PAIRS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}":,`\n ab1', max_size=60).map(str.encode))
def test_no_text_breaks_the_reader_of_answers(tmp_path, content):
    (tmp_path / "answer.txt").write_bytes(content)
    try:
        read_answer(tmp_path / "answer.txt")
    except VidaffError as error:
        assert "answer.txt" in str(error)


word = st.text(alphabet="abcdefgh", min_size=1, max_size=8)
names_of_pairs = st.dictionaries(
    st.tuples(word, word), st.lists(word, min_size=1, max_size=3, unique=True).map(tuple), max_size=6
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(names_of_pairs)
def test_written_names_are_read_again(tmp_path, names):
    written = write_part_names(tmp_path / "parts.yaml", names)
    again = read_part_names([written])
    assert {pair: set(again[pair]) for pair in names} == {pair: set(words) for pair, words in names.items()}
    assert len(again) == len({*names, *read_part_names()})
