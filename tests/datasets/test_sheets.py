import csv

import pytest
from native_trees import (
    CASME2_HEADER,
    SAMM_HEADER,
    SMIC_E_HEADER,
    casme2_row,
    samm_row,
    write_xls,
    write_xlsx,
)

from slstt.datasets.annotations import read_annotations, read_rows
from slstt.errors import DataError

CASME2_ROWS = [
    CASME2_HEADER,
    casme2_row(1, "EP02_01f", 46, 59, 86, "happiness"),
    casme2_row("01", "EP19_05f", 1.0, "/", 50.0, "Others"),
    casme2_row("sub17", "EP01_2 ", "3", "9", "21", "disgust"),
]
SAMM_ROWS = [
    *[(f"preamble line {n}",) for n in range(13)],
    SAMM_HEADER,
    samm_row("006", "006_1_2", 5562.0, 5588, 5632, "Anger"),
    samm_row(7, "007_3_1", 10, 12, 30, "Others"),
]


def keys(annotations):
    return [(a.subject, a.clip, a.emotion, a.onset, a.apex, a.offset) for a in annotations]


@pytest.mark.parametrize(("suffix", "write"), [("xlsx", write_xlsx), ("xls", write_xls)])
def test_workbooks_of_both_formats_read_the_same(tmp_path, suffix, write):
    annotations, remarks = read_annotations("casme2", write(tmp_path / f"sheet.{suffix}", CASME2_ROWS))
    assert keys(annotations) == [
        ("sub01", "EP02_01f", "happiness", 46, 59, 86),
        ("sub01", "EP19_05f", "others", 1, None, 50),
        ("sub17", "EP01_2", "disgust", 3, 9, 21),
    ]
    assert annotations[1].apex_text == "/"
    assert [a.line for a in annotations] == [2, 3, 4]
    assert remarks == []


@pytest.mark.parametrize(("suffix", "write"), [("xlsx", write_xlsx), ("xls", write_xls)])
def test_the_header_is_found_below_a_preamble_and_on_a_later_worksheet(tmp_path, suffix, write):
    path = tmp_path / f"SAMM.{suffix}"
    write(path, SAMM_ROWS) if suffix == "xls" else write(path, SAMM_ROWS, ("cover", "legend"))
    annotations, remarks = read_annotations("samm", path)
    assert keys(annotations) == [
        ("006", "006_1_2", "anger", 5562, 5588, 5632),
        ("007", "007_3_1", "other", 10, 12, 30),
    ]
    assert annotations[0].line == 15
    assert remarks == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_any_delimiter_and_usual_encoding(tmp_path, encoding, delimiter):
    path = tmp_path / "sheet.csv"
    with path.open("w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([[*row, "备注"] for row in CASME2_ROWS])
    assert len(read_annotations("casme2", path)[0]) == 3


def test_notes_below_the_table_are_not_rows(tmp_path):
    notes = [("", ""), ("Note: FirstF is the first frame", ""), ("total", "", "", "", "", "", "", "", "", "157")]
    row = (1, "s1_ne_01", "", 120, 150, "", "", 100, 200, "negative")
    twice = (20, "s20_po_02", "", 120, 150, 170, 190, 100, 200, "positive")
    path = write_xlsx(tmp_path / "SMIC-HS-E_annotation.xlsx", [SMIC_E_HEADER, row, twice, *notes])
    annotations, remarks = read_annotations("smic", path)
    assert [(a.subject, a.clip, a.onset, a.apex, a.offset, a.first, a.second) for a in annotations] == [
        ("s01", "s01_ne_01", 120, None, 150, 100, False),
        ("s20", "s20_po_02", 120, None, 150, 100, True),
    ]
    assert remarks == []


def test_a_data_row_that_cannot_be_used_is_a_failure_not_a_note(tmp_path):
    rows = [
        *CASME2_ROWS,
        casme2_row("O1", "EP03_02", 131, 139, 161, "others"),
        casme2_row(2, "EP04_02", "?", 54, "", "others"),
        casme2_row(3, "intro", 1, 2, 3, "others"),
    ]
    annotations, remarks = read_annotations("casme2", write_xlsx(tmp_path / "sheet.xlsx", rows))
    assert len(annotations) == 3
    assert {(r.kind, r.action) for r in remarks} == {("bad_row", "failure")}
    first, second, third = (r.reason for r in remarks)
    assert "row 5" in first and "'O1' is not a subject" in first
    assert "onset '?'" in second and "offset ''" in second
    assert (remarks[1].subject, remarks[1].clip) == ("sub02", "EP04_02")
    assert "'intro' is not a clip" in third


def test_missing_columns_are_named(tmp_path):
    path = write_xlsx(
        tmp_path / "sheet.xlsx", [("Subject", "Filename", "OnsetFrame", "ApexFrame"), (1, "EP01_01", 1, 2)]
    )
    with pytest.raises(DataError, match=r"missing columns: offset .*, emotion \(estimatedemotion / emotion\)"):
        read_rows(path)


def test_a_table_without_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no row of casme2"):
        read_annotations("casme2", write_xlsx(tmp_path / "sheet.xlsx", [CASME2_HEADER]))


def test_damaged_foreign_and_absent_sheets_are_named(tmp_path):
    whole = write_xlsx(tmp_path / "whole.xlsx", CASME2_ROWS).read_bytes()
    for name, content in {
        "cut.xlsx": whole[: len(whole) // 2],
        "text.xls": b"not a workbook",
        "empty.xlsx": b"",
        "bytes.csv": b"\xff\xff\x00\x81",
        "sheet.ods": whole,
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_rows(path)
    with pytest.raises(DataError, match="no such coding sheet"):
        read_rows(tmp_path / "absent.xlsx")


@pytest.mark.parametrize(("dataset", "rows", "subjects"), [("casme2", 255, 26), ("samm", 159, 29), ("smic", 164, 16)])
def test_the_real_sheets_have_the_published_numbers_of_rows(shared_data, dataset, rows, subjects):
    annotations, remarks = read_annotations(dataset, shared_data / "annotations" / f"{dataset}_coding.csv")
    assert (len(annotations), len({a.subject for a in annotations})) == (rows, subjects)
    assert len({(a.subject, a.clip) for a in annotations}) == rows
    assert remarks == []
    assert all(a.apex is not None and a.onset < a.offset for a in annotations)
