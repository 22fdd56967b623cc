import csv
import struct
import zipfile

import pytest
import xlsxwriter
import xlwt
from native_trees import (
    CASME2_HEADER,
    SAMM_HEADER,
    SMIC_E_HEADER,
    casme2_row,
    samm_row,
    write_xls,
    write_xlsx,
)

from slstt.datasets import DATASETS
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
    annotations, remarks = read_annotations(DATASETS["casme2"], write(tmp_path / f"sheet.{suffix}", CASME2_ROWS))
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
    annotations, remarks = read_annotations(DATASETS["samm"], path)
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
    assert len(read_annotations(DATASETS["casme2"], path)[0]) == 3


def test_notes_below_the_table_are_not_rows(tmp_path):
    notes = [("", ""), ("Note: FirstF is the first frame", ""), ("total", "", "", "", "", "", "", "", "", "157")]
    row = (1, "s1_ne_01", "", 120, 150, "", "", 100, 200, "negative")
    twice = (20, "s20_po_02", "", 120, 150, 170, 190, 100, 200, "positive")
    path = write_xlsx(tmp_path / "SMIC-HS-E_annotation.xlsx", [SMIC_E_HEADER, row, twice, *notes])
    annotations, remarks = read_annotations(DATASETS["smic"], path)
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
    annotations, remarks = read_annotations(DATASETS["casme2"], write_xlsx(tmp_path / "sheet.xlsx", rows))
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
        read_annotations(DATASETS["casme2"], write_xlsx(tmp_path / "sheet.xlsx", [CASME2_HEADER]))


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
    annotations, remarks = read_annotations(DATASETS[dataset], shared_data / "annotations" / f"{dataset}_coding.csv")
    assert (len(annotations), len({a.subject for a in annotations})) == (rows, subjects)
    assert len({(a.subject, a.clip) for a in annotations}) == rows
    assert remarks == []
    assert all(a.apex is not None and a.offset is not None and a.onset < a.offset for a in annotations)


def csv_sheet(path, clips=50):
    lines = ["Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Estimated Emotion"]
    lines += [f"{n % 26 + 1},EP01_{n:02d},46,59,86,happiness" for n in range(1, clips + 1)]
    path.write_text("\n".join(lines) + "\n")
    return lines


def test_an_unclosed_quote_is_named_and_loses_no_clip(tmp_path):
    path = tmp_path / "sheet.csv"
    lines = csv_sheet(path)
    assert len(read_annotations(DATASETS["casme2"], path)[0]) == 50
    path.write_text("\n".join([*lines[:2], lines[2].replace("EP", '"EP'), *lines[3:]]))
    with pytest.raises(DataError, match=r'sheet\.csv: line 3: a quote \("\) that begins in this line is not closed'):
        read_annotations(DATASETS["casme2"], path)
    opened = [*lines[:2], lines[2].replace("EP", '"EP'), *lines[3:9], lines[9].replace(",46", '",46'), *lines[10:]]
    path.write_text("\n".join(opened))
    with pytest.raises(DataError, match=r"sheet\.csv: line 3: .* closed in line 10 only"):
        read_annotations(DATASETS["casme2"], path)


def test_a_note_of_several_lines_is_a_note(tmp_path):
    path = tmp_path / "sheet.csv"
    lines = csv_sheet(path)
    lines[0] = lines[0].replace("OnsetFrame", '"Onset\nFrame"') + ",Notes"
    lines[4] += ',"eyes half closed,\nhead turned"'
    path.write_text("\n".join(lines))
    assert len(read_annotations(DATASETS["casme2"], path)[0]) == 50


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"Subject\0,Filename", "NUL"),
        ("Subject,Filename\n1,EP01_01\n".encode("utf-16-le"), "NUL"),
        (b"a,b\n" * 100_002, "100,001 rows"),
        (b"," * 2_000, "2,001 columns"),
        (b"\x89PNG\r\n\x1a\n\xff\xff", "neither UTF-8 nor GB18030"),
        (b"", "no header row found"),
    ],
)
def test_a_csv_that_is_no_sheet_is_one_line(tmp_path, content, complaint):
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"sheet\\.csv: .*{complaint}"):
        read_rows(tmp_path / "sheet.csv")


def test_excels_unicode_text_is_read(tmp_path):
    path = tmp_path / "sheet.csv"
    lines = csv_sheet(path)
    path.write_text("\n".join(lines).replace(",", "\t"), encoding="utf-16")
    assert len(read_annotations(DATASETS["casme2"], path)[0]) == 50


def workbook_of(path, sheets):
    """A workbook of (name, hidden, rows); cells may lie anywhere, as {(row, column): text}."""
    with xlsxwriter.Workbook(path) as workbook:
        for name, hidden, rows in sheets:
            sheet = workbook.add_worksheet(name)
            cells = (
                rows if isinstance(rows, dict) else {(r, c): x for r, row in enumerate(rows) for c, x in enumerate(row)}
            )
            for (row, column), cell in cells.items():
                sheet.write(row, column, cell)
            if hidden:
                sheet.hide()
            else:
                sheet.activate()
    return path


SURPRISED = [CASME2_HEADER, *[(*row[:8], "surprise") for row in CASME2_ROWS[1:]]]


def test_a_hidden_worksheet_is_never_taken(tmp_path):
    path = workbook_of(tmp_path / "s.xlsx", [("old", True, SURPRISED), ("codes", False, CASME2_ROWS)])
    annotations, remarks = read_annotations(DATASETS["casme2"], path)
    assert [a.emotion for a in annotations] == ["happiness", "others", "disgust"]
    (remark,) = remarks
    assert (remark.kind, remark.action) == ("other_worksheet", "ignored")
    assert "hidden worksheet 'old' holds a coding table as well; not used, 'codes' is" in remark.reason
    with pytest.raises(DataError, match="only the hidden worksheet 'old' holds a coding table; unhide it"):
        read_rows(workbook_of(tmp_path / "t.xlsx", [("old", True, SURPRISED), ("cover", False, [("hello",)])]))


def test_a_hidden_worksheet_of_an_xls_is_never_taken(tmp_path):
    workbook = xlwt.Workbook()
    for name, rows in (("old", SURPRISED), ("codes", CASME2_ROWS)):
        sheet = workbook.add_sheet(name)
        sheet.visibility = int(name == "old")
        for r, row in enumerate(rows):
            for c, cell in enumerate(row):
                sheet.write(r, c, cell)
    workbook.active_sheet = 1
    workbook.save(str(tmp_path / "s.xls"))
    annotations, remarks = read_annotations(DATASETS["casme2"], tmp_path / "s.xls")
    assert [a.emotion for a in annotations] == ["happiness", "others", "disgust"]
    assert [remark.kind for remark in remarks] == ["other_worksheet"]


def test_of_several_visible_worksheets_the_first_is_taken_and_the_others_are_said(tmp_path):
    path = workbook_of(tmp_path / "s.xlsx", [("first", False, CASME2_ROWS), ("second", False, SURPRISED)])
    annotations, remarks = read_annotations(DATASETS["casme2"], path)
    assert annotations[0].emotion == "happiness"
    assert "worksheet 'second' holds a coding table as well; not used, 'first' is" in remarks[0].reason


def test_rows_in_other_capitals_are_the_same_clip(tmp_path):
    rows = [*CASME2_ROWS, casme2_row("SUB01", "ep02_01F", 46, 59, 86, "Happiness")]
    annotations, _ = read_annotations(DATASETS["casme2"], write_xlsx(tmp_path / "s.xlsx", rows))
    assert keys(annotations)[-1] == keys(annotations)[0]


@pytest.mark.parametrize("place", [(1_048_575, 16_383), (1_048_575, 0), (0, 16_383), (50_000, 900)])
def test_a_stray_cell_far_away_ends_with_a_line_not_the_process(tmp_path, place):
    cells = {(r, c): x for r, row in enumerate(CASME2_ROWS) for c, x in enumerate(row)}
    path = workbook_of(tmp_path / "s.xlsx", [("codes", False, {**cells, place: "stray"})])
    row, column = place[0] + 1, place[1] + 1
    with pytest.raises(
        DataError, match=rf"s\.xlsx: .*sheet1\.xml: a cell in row {row:,}, column {column:,} of .*at most"
    ):
        read_rows(path)


def test_formats_far_away_are_no_cells(tmp_path):
    path = tmp_path / "s.xlsx"
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet("codes")
        for r, row in enumerate(CASME2_ROWS):
            for c, cell in enumerate(row):
                sheet.write(r, c, cell)
        sheet.write_blank(1_048_575, 16_383, None, workbook.add_format({"bold": True}))
    assert len(read_annotations(DATASETS["casme2"], path)[0]) == 3


def test_a_stray_cell_of_an_xls_is_named(tmp_path):
    path = write_xls(tmp_path / "s.xls", CASME2_ROWS)
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("codes")
    sheet.write(0, 0, "Subject")
    sheet.write(65_535, 255, "stray")
    workbook.save(str(path))
    with pytest.raises(DataError, match=r"s\.xls: worksheet 'codes': a cell in row 65,536, column 256; at most"):
        read_rows(path)


def test_an_xls_that_asks_for_all_memory_ends_its_own_process(tmp_path):
    path = write_xls(tmp_path / "s.xls", [("Subject", "Filename"), ("a", 3.14159265)])
    raw = bytearray(path.read_bytes())
    record = raw.index(struct.pack("<HHHH", 0x0203, 14, 1, 1))  # NUMBER, row 1, column 1
    raw[record + 4 : record + 8] = struct.pack("<HH", 65_535, 65_535)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"s\.xls: cannot be read within 2,048 MB of memory"):
        read_rows(path)


def rezipped(path, change):
    """The workbook with some parts replaced: `change` gives new bytes for a part's name, or None."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**parts, **change}.items():
            archive.writestr(name, content)
    return path


def test_zip_bombs_are_told_by_their_size(tmp_path):
    path = write_xlsx(tmp_path / "s.xlsx", CASME2_ROWS)
    rezipped(path, {"xl/media/noise.bin": bytes(140 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match=r"s\.xlsx: has 140 MB once unpacked, at most 128 MB"):
        read_rows(path)
    # An archive that lies about it is unpacked only as far as it says.
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 140 * 2**20), struct.pack("<I", 1000)))
    with pytest.raises(DataError, match=r"s\.xlsx: unreadable as xlsx"):
        read_rows(path)


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    "content",
    [
        b"<worksheet><sheetData><row><c><v>1</v>",
        b"not xml",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet>&a;</worksheet>',
        b"<worksheet>" * 100_000,
        b"\xff\xfe\x00\x00",
    ],
)
def test_damaged_parts_of_a_workbook_are_one_line(tmp_path, content):
    path = rezipped(write_xlsx(tmp_path / "s.xlsx", CASME2_ROWS), {SHEET: content})
    with pytest.raises(DataError, match=r"s\.xlsx"):
        read_rows(path)


def test_cells_without_a_reference_are_counted(tmp_path):
    row = b"<row>" + b"<c><v>1</v></c>" * 1_001 + b"</row>"
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
    path = rezipped(write_xlsx(tmp_path / "s.xlsx", CASME2_ROWS), {SHEET: sheet % row})
    with pytest.raises(DataError, match=r"row 1, column 1,001 of a table 1,001 columns wide; at most"):
        read_rows(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0b.csv"])
def test_a_sheet_that_no_system_can_hold_is_one_line(tmp_path, name):
    with pytest.raises(DataError, match=r"cannot be read|no such coding sheet"):
        read_rows(tmp_path / name)
