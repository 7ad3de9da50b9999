"""What was measured: ids, columns and models of the tables in weights/, and who names them."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights"
CODE = sorted((ROOT / "bcodec").rglob("*.py"))
ID = re.compile(r"\bE\d{3,4}\b")
NUMBER = r"[+-]?\d+(?:\.\d+)?"
VERDICTS = ("baseline", "kept", "left out", "better", "worse", "no difference", "observed")
COLUMNS = {
    "evidence": "id,date,commit,model,arithmetic_version,topic,question,variant,"
    "clips,frames,qps,metric,value,verdict",
    "releases": "date,commit,model,arithmetic_version,parameters,bd_rate_x264_yuv,bd_rate_x264_luma,"
    "bd_rate_x265_yuv,bd_rate_x265_luma,clips,frames,intra_period,note",
    "recipe": "step,stage,command,minutes,steps,machine,note",
}


def table(name: str) -> list[dict[str, str]]:
    with (WEIGHTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_that_are_documented(name: str) -> None:
    columns = COLUMNS[name].split(",")
    for row in table(name):
        assert list(row) == columns
        assert all(isinstance(cell, str) and cell == cell.strip() for cell in row.values())


def test_the_readme_explains_each_column_of_the_evidence() -> None:
    text = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert [name for name in COLUMNS["evidence"].split(",") if f"`{name}`" not in text] == []


def test_ids_are_unique_and_ascend() -> None:
    ids = [row["id"] for row in table("evidence")]
    assert all(ID.fullmatch(each) for each in ids)
    assert ids == sorted(set(ids), key=lambda each: int(each[1:]))


def test_rows_come_in_chronological_order() -> None:
    for name in ("evidence", "releases"):
        dates = [row["date"] for row in table(name)]
        assert dates == sorted(dates)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", WEIGHTS / "README.md", *CODE], ids=lambda path: path.name
)
def test_ids_that_are_named_exist(path: Path) -> None:
    known = {row["id"] for row in table("evidence")}
    text = re.sub(r"# noqa: .*", "", path.read_text(encoding="utf-8"))  # rules of ruff have such names, too
    assert set(ID.findall(text)) <= known


def test_values_are_numbers_in_the_order_that_the_metric_tells() -> None:
    for row in table("evidence"):
        several = " by " in row["metric"]
        one = rf"(?:{NUMBER}|{NUMBER} to {NUMBER})?"
        assert re.fullmatch(rf"(?:{NUMBER}(?: {NUMBER})+)?" if several else one, row["value"]), row["id"]
        assert row["verdict"].split(":")[0] in VERDICTS, row["id"]
        assert row["metric"], row["id"]


def test_each_topic_says_what_is_believed() -> None:
    text = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    believed = re.findall(r"^\| ([^|]+) \|.*\| [^|]*E\d{3}[^|]* \|$", text, re.MULTILINE)
    assert set(believed) == {row["topic"] for row in table("evidence")}


def test_models_were_released() -> None:
    released = {row["model"] for row in table("releases")}
    assert {row["model"] for row in table("evidence")} - {""} <= released


def test_the_newest_release_is_the_one_that_ships() -> None:
    digest = (WEIGHTS / "bcodec.sha256").read_text(encoding="ascii").split()[0]
    assert table("releases")[-1]["model"] == digest[:16]
    assert digest in (WEIGHTS / "README.md").read_text(encoding="utf-8")


def test_steps_of_the_recipe_count_up() -> None:
    assert [row["step"] for row in table("recipe")] == [str(n + 1) for n in range(len(table("recipe")))]


def test_the_readme_of_the_weights_stays_short() -> None:
    assert len((WEIGHTS / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_what_code_calls_measured_has_evidence(path: Path) -> None:
    for claim in re.findall(r"\(measured[^)]*\)?", path.read_text(encoding="utf-8")):
        assert ID.search(claim), claim
