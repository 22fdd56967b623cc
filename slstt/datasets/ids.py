"""One normal form for the ids that releases, sheets and published lists write differently.

| data set | subject | clip | seen in the wild |
|---|---|---|---|
| CASME II | `sub01` | `EP02_01f` | `1`, `01`, `1.0`, `sub1`; the clip with blanks round it or in other case |
| SAMM | `006` | `006_1_2` | `6`, `6.0`, `6_1_2` |
| SMIC | `s01` | `s01_ne_01` | `1`, `s1`, `s1_ne_01` |

Ids are always text: a spreadsheet turns `006` into 6, YAML turns `013` into 11.
"""

import re

DATASETS = ("casme2", "samm", "smic")

EMOTIONS = {
    "casme2": ("happiness", "disgust", "repression", "surprise", "sadness", "fear", "others"),
    "samm": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "other"),
    "smic": ("negative", "positive", "surprise"),
}
"""The emotions each data set's annotation knows, in our spelling."""

_OTHER = {"casme2": {"other": "others"}, "samm": {"others": "other"}}

_SUBJECT = {
    "casme2": re.compile(r"(?:sub[ _-]?)?0*(\d{1,2})", re.IGNORECASE | re.ASCII),
    "samm": re.compile(r"0*(\d{1,3})", re.ASCII),
    "smic": re.compile(r"s?0*(\d{1,2})", re.IGNORECASE | re.ASCII),
}
_SUBJECT_FOLDER = {
    "casme2": re.compile(r"sub[ _-]?0?\d{1,2}", re.IGNORECASE | re.ASCII),
    "samm": re.compile(r"\d{3}", re.ASCII),
    "smic": re.compile(r"s\d{1,2}", re.IGNORECASE | re.ASCII),
}
_SUBJECT_FORM = {"casme2": "sub{:02d}", "samm": "{:03d}", "smic": "s{:02d}"}

_CASME2_CLIP = re.compile(r"ep([0-9a-z_-]+)", re.IGNORECASE | re.ASCII)
_SAMM_CLIP = re.compile(r"0*(\d{1,3})_(\d{1,3})_(\d{1,3})", re.ASCII)
_SMIC_CLIP = re.compile(r"s?0*(\d{1,2})_(ne|po|sur)_0*(\d{1,3})", re.IGNORECASE | re.ASCII)


def whole_number(text: str) -> int | None:
    """`46`, ` 46 ` and `46.0` as 46; None for everything else (`/`, an empty cell, `4.5`, a note)."""
    found = re.fullmatch(r"\s*([+-]?\d{1,12})(?:\.0*)?\s*", text, re.ASCII)
    return int(found[1]) if found else None


def subject_id(dataset: str, text: str) -> str:
    """The subject in normal form. Raises ValueError where `text` names no subject of `dataset`."""
    number = whole_number(text)
    found = _SUBJECT[dataset].fullmatch(text.strip() if number is None else str(number))
    if not found:
        raise ValueError(f"'{text}' is not a subject of {dataset}; expected e.g. {_SUBJECT_FORM[dataset].format(6)}")
    return _SUBJECT_FORM[dataset].format(int(found[1]))


def clip_id(dataset: str, text: str) -> str:
    """The clip's name in normal form. Raises ValueError where `text` names no clip of `dataset`."""
    name = text.strip()
    if dataset == "casme2" and (found := _CASME2_CLIP.fullmatch(name)):
        return f"EP{found[1].lower()}"
    if dataset == "samm" and (found := _SAMM_CLIP.fullmatch(name)):
        return f"{int(found[1]):03d}_{int(found[2])}_{int(found[3])}"
    if dataset == "smic" and (found := _SMIC_CLIP.fullmatch(name)):
        return f"s{int(found[1]):02d}_{found[2].lower()}_{int(found[3]):02d}"
    example = {"casme2": "EP02_01f", "samm": "006_1_2", "smic": "s01_ne_01"}[dataset]
    raise ValueError(f"'{text}' is not a clip of {dataset}; expected e.g. {example}")


def emotion_name(dataset: str, text: str) -> str:
    """The emotion in lower case, `Other` and `Others` in the data set's own spelling; unknown ones unchanged."""
    name = text.strip().lower()
    return _OTHER.get(dataset, {}).get(name, name)


def is_subject_folder(dataset: str, name: str) -> bool:
    """Whether a folder called `name` holds one subject of `dataset` (stricter than `subject_id`: `sub`, `s`, 006)."""
    return _SUBJECT_FOLDER[dataset].fullmatch(name) is not None


def dataset_of(subject: str) -> str:
    """The data set told from a subject's name: `sub..` CASME II, `s..` SMIC, digits SAMM. Raises ValueError."""
    name = subject.strip().lower()
    if name.startswith("sub"):
        return "casme2"
    if name.startswith("s"):
        return "smic"
    if name.isascii() and name.isdigit():
        return "samm"
    raise ValueError(f"'{subject}' is no subject of CASME II (sub01), SMIC (s01) or SAMM (006)")
