"""Location: a path or URL, parsed once; without credentials wherever it is shown."""

import pickle
from pathlib import Path

import fsspec.utils
import pytest

from jp2batch.core.errors import InvalidPath
from jp2batch.core.location import Location

TEXTS = [
    "scenes/a.jp2",
    "/data/a?b.jp2",
    "file:///data/a.jp2",
    "s3://bucket/folder/a.jp2",
    "https://host:8000/a.jp2?sig=1",
    "zip://folder/a.jp2::s3://bucket/a.zip",
    "simplecache::https://host/a.jp2",
    "abfs://container@account.dfs.core.windows.net/a.jp2",
    "memory://",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_scheme_is_that_of_fsspec(text):
    assert Location.of(text).scheme == fsspec.utils.get_protocol(text)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("Zu\u0308rich 1.jp2", "Z\xfcrich_1"),  # as macOS decomposes it
        ("\u6771\u4eac/\u6771\u4eac.jp2", "\u6771\u4eac"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947.jp2", "\u0928\u092e\u0938\u094d\u0924\u0947"),  # marks belong to letters
        ("\u6771" * 60 + ".jp2", "\u6771" * 26),  # at most 80 bytes
        ("a\ud800\u202e.jp2", "a__"),
    ],
)
def test_its_stem_keeps_letters_of_all_scripts(path, stem):
    assert Location.of(path).stem == stem


@pytest.mark.parametrize("text", TEXTS)
def test_with_its_own_path_it_stays_as_it_is(text):
    location = Location.of(text)
    assert location.with_path(location.path) == location
    assert "::".join(location.links) == text


def test_it_is_taken_apart():
    local, chained = Location.of(Path("scenes") / "A.B.JP2"), Location.of("zip://in/a.jp2::s3://bucket/x/a.zip?sig=1")
    assert (local.is_local, local.bucket, local.key, local.suffix, local.stem) == (True, "", "", ".jp2", "A.B")
    assert (chained.is_local, chained.path, chained.suffix) == (False, "in/a.jp2", ".jp2")
    assert (chained.store.scheme, chained.store.bucket, chained.store.key) == ("s3", "bucket", "x/a.zip?sig=1")
    assert chained.with_path("b.jp2").text == "zip://b.jp2::s3://bucket/x/a.zip?sig=1"
    assert Location.of("https://h/a.JP2?sig=1.x").suffix == ".jp2"
    assert Location.of("/data/a?b.jp2").suffix == ".jp2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.jp2", "/data/a.jp2"), ("/a.jp2", "/a.jp2"), ("~/a.jp2", "~/a.jp2"), ("s3://b/a", "s3://b/a")],
)
def test_only_a_relative_path_is_made_absolute(text, expected):
    assert Location.of(text).absolute("/data").text == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (Location.of("a.b.jp2"), "a.b.j2w"),
        (Location.of("/x.y/plain"), "/x.y/plain.j2w"),
        (Location.of("file:///x%20y/a.jp2"), "file:///x%20y/a.j2w"),
        (Location.of("https://h/a.jp2?sig=1.x"), "https://h/a.j2w"),
        (Location.of("zip://in/a.jp2::s3://b/a.zip"), "zip://in/a.j2w::s3://b/a.zip"),
        (Location.below("s3://b/base", "x::y?.jp2"), "s3://b/base/x::y?.j2w"),
        (Location.below("/data", "a.jp2"), "/data/a.j2w"),
    ],
)
def test_a_neighbour_has_another_suffix(location, expected):
    found = location.beside(".j2w")
    assert found.text == expected
    assert bool(found.literal) == bool(location.literal)
    assert found.options == location.options


def test_no_form_of_it_shows_a_secret():
    location = Location("https://me:sesame@host/a.jp2?sig=sesame", {"client_kwargs": {"token": "opened"}})
    error = pickle.loads(pickle.dumps(InvalidPath(location, "is wrong")))
    for text in (str(location), repr(location), f"{location}", location.redacted, str(error), location.stem):
        assert "sesame" not in text
        assert "opened" not in text
    assert location.redact("got sesame, opened, and me:sesame") == "got …, …, and …"
    assert (error.path, type(error.path)) == ("https://host/a.jp2", str)
    assert Location.of("https://me:ses\tame@host/a.jp2").redacted == "https://…"
