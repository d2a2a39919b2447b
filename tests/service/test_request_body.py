"""What a body asks for: one spelling of a key, and words of JSON in what is said of it."""

import json

import pytest

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.service.request_body import parse_body
from jp2batch.service.roots import Root

FOLDER = {"default": Root("default", "/data/images")}
BUCKET = {"default": Root("default", "s3://bucket/images")}
WEB = {"default": Root("default", "https://example.org/images")}


@pytest.mark.parametrize("path", ["a/b.jp2", "./a/b.jp2", "a//b.jp2", ".//a/././/b.jp2"])
def test_a_key_has_one_spelling(path):
    _, request = parse_body(json.dumps({"Path": path}).encode(), FOLDER)
    assert request.path == "a/b.jp2"
    assert request.url == "/data/images/a/b.jp2"
    assert request == parse_body(b'{"Path": "a/b.jp2"}', FOLDER)[1]


KEYS = ["a//b.jp2", "./a/./b.jp2", "a/", "10:00/b.jp2", "a::b", "a.jp2?versionId=1", "a#b", "a%2Fb"]


@pytest.mark.parametrize("key", KEYS)
def test_in_an_object_store_each_path_is_a_key_of_its_own(key):
    _, request = parse_body(json.dumps({"Path": key}).encode(), BUCKET)
    assert request.path == key
    assert request.location.path == f"bucket/images/{key}"


@pytest.mark.parametrize("key", ["../a.jp2", "a/%2e%2e/b", "a\\b", "/a.jp2", "a\0", "a/.."])
def test_what_a_store_could_resolve_is_no_key(key):
    with pytest.raises(InvalidPath):
        parse_body(json.dumps({"Path": key}).encode(), BUCKET)


@pytest.mark.parametrize("path", ["a/", "a.jp2/", "a/.", "."])
def test_a_folder_is_no_image(path):
    with pytest.raises(InvalidPath, match="folder"):
        parse_body(json.dumps({"Path": path}).encode(), FOLDER)


@pytest.mark.parametrize("path", ["a.jp2?b", "a.jp2#b", "a?/../b.jp2"])
def test_on_the_web_a_path_is_no_more_than_a_path(path):
    with pytest.raises(InvalidPath):
        parse_body(json.dumps({"Path": path}).encode(), WEB)


def test_in_a_folder_a_name_may_have_a_question_mark():
    assert parse_body(b'{"Path": "a?b#c.jp2"}', FOLDER)[1].path == "a?b#c.jp2"


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ('{"Path": "a", "rlevel": null}', InvalidRlevel, "rlevel cannot be null"),
        ('{"Path": "a", "rlevel": true}', InvalidRlevel, "rlevel cannot be true"),
        ('{"Path": "a", "rlevel": [1]}', InvalidRlevel, r"rlevel cannot be an array"),
        ('{"Path": null}', InvalidPath, "Path cannot be null"),
        ('{"path": {"a": false}}', InvalidPath, "path cannot be an object"),
        ('{"Path": "a", "window": false}', InvalidWindow, "window cannot be false"),
        ('{"Path": "a", "window": {"a": null}}', InvalidWindow, "window cannot be"),
    ],
)
def test_what_cannot_be_is_said_in_words_of_json(body, error, said):
    with pytest.raises(error, match=said):
        parse_body(body.encode(), FOLDER)


@pytest.mark.parametrize(("text", "rlevel"), [("-1.0", -1), ("0.0", 0), ("1e0", 1), ("2", 2)])
def test_a_whole_number_may_be_written_as_any(text, rlevel):
    assert parse_body(f'{{"Path": "a", "rlevel": {text}}}'.encode(), FOLDER)[1].rlevel == rlevel


def test_a_byte_order_mark_is_taken():
    assert parse_body(b'\xef\xbb\xbf{"Path": "a.jp2"}', FOLDER)[1].path == "a.jp2"


def test_half_a_byte_order_mark_is_not():
    with pytest.raises(InvalidRequest, match="UTF-8"):
        parse_body(b'\xef\xbb{"Path": "a.jp2"}', FOLDER)
