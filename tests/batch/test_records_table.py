"""Records as a table: `--records records.parquet`."""

import json

import pandas as pd
import pytest

from support.runs import lines, run, write_rows


@pytest.fixture
def manifest(image, tmp_path):
    rows = [{"Path": str(image), "rlevel": 0, "window": f"{r}:{r + 5},0:20", "site": r} for r in range(5)]
    return write_rows(tmp_path / "m.ndjson", [*rows, {"Path": str(tmp_path / "missing.jp2"), "mixed": [1]}])


@pytest.mark.parametrize("output", ["out/", "results.ndjson", "results.parquet"])
def test_a_table_has_the_newest_record_of_each_item(output, manifest, tmp_path):
    table = tmp_path / "records.parquet"
    log = tmp_path / {"out/": "out/records.ndjson"}.get(output, f"{output}.records.ndjson")
    for _ in range(2):
        done = run(manifest, f"{tmp_path}/{output}", "--resume", "--records", table)
        assert done.exit_code == 1, done.stderr
        found = pd.read_parquet(table).set_index("id")
        records = {record["id"]: record for record in lines(log)}
        assert set(found.index) == set(records)
        assert len(found) == 6
        for id_, row in found.iterrows():
            same = ["Path", "digest", "status", "size", "bytes_read", "attempts"]
            assert list(row[same]) == [records[id_][name] for name in same]
            if row["status"] == "ok":
                assert (row["output_size"], json.loads(row["columns"])["site"]) == (
                    records[id_]["output_size"],
                    row["site"],
                )
        (failed,) = found[found["status"] == "failed"].itertuples()
        assert (failed.error, json.loads(failed.columns)) == ("ImageNotFound", {"mixed": [1]})
        assert "missing.jp2" in failed.detail


def test_another_file_is_not_replaced_by_a_table(manifest, tmp_path):
    other = tmp_path / "other.parquet"
    pd.DataFrame({"id": [1]}).to_parquet(other)
    before = other.read_bytes()
    done = run(manifest, f"{tmp_path}/out/", "--records", other)
    assert (done.exit_code, done.stderr.count("\n"), "is not a table of records" in done.stderr) == (2, 1, True)
    done = run(manifest, "-", "--records", tmp_path / "records.parquet")
    assert (done.exit_code, "have no records" in done.stderr) == (2, True)
    assert other.read_bytes() == before
    assert not (tmp_path / "out").exists()
