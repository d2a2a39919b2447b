"""Answer questions about a store: a line of JSON in, a line out. Run on a host beside the store."""

import contextlib
import hashlib
import io
import json
import sys
import time
import urllib.request

import fsspec
import pyarrow.parquet as pq

S3 = fsspec.filesystem("s3", use_listings_cache=False)


def listing(prefix: str) -> dict[str, tuple[int, str, str]]:
    """Return size, ETag and time of the objects below a prefix."""
    found = S3.find(prefix, detail=True)
    return {
        name.removeprefix(f"{prefix}/"): (one["size"], one.get("ETag", "").strip('"'), str(one.get("LastModified")))
        for name, one in found.items()
    }


def read(key: str) -> str:
    """Return an object as text, its damaged characters replaced."""
    return str(S3.cat_file(key).decode(errors="replace"))


def rows(url: str) -> list[tuple[str, int, str, str]]:
    """Return id, size, MD5 and path of each row in the parts at a URL, and in those pending."""
    found, parts = list[tuple[str, int, str, str]](), dict[str, tuple[str, bytes]]()
    for folder in (f"{url}.pending", url):  # a part may be moved meanwhile
        for path in S3.find(folder):
            with contextlib.suppress(FileNotFoundError):
                if "/part-" in path:
                    parts[path.rpartition("/")[2]] = path, S3.cat_file(path)
    for path, data in parts.values():
        if path.endswith(".ndjson"):
            lines = map(json.loads, data.splitlines())
            values = [(line["id"], json.dumps([line["shape"], line["img_data"]]).encode()) for line in lines]
        else:
            table = pq.read_table(io.BytesIO(data))
            texts = [json.dumps(row.as_py()).encode() for row in table["values"]]
            values = list(zip(table["id"].to_pylist(), texts, strict=True))
        found += [(id_, len(text), hashlib.md5(text).hexdigest(), path) for id_, text in values]
    return found


def write(key: str, text: str) -> None:
    """Put an object."""
    S3.pipe_file(key, text.encode())


def fill(folder: str, bucket: str, *others: str) -> None:
    """Make buckets as soon as the store answers, and copy the files of a folder into the first."""
    end = time.monotonic() + 120
    while True:
        try:
            for name in (bucket, *others):
                S3.makedirs(name, exist_ok=True)
            S3.put(f"{folder}/", f"{bucket}/", recursive=True)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


def fetch(url: str) -> str:
    """Return the text at a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        sys.stdout.write(f"{json.dumps(globals()[function](*arguments))}\n")
        sys.stdout.flush()
