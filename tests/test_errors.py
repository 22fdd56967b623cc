import pytest

from slstt.errors import ConfigError, DataError, Problems, SlsttError, WeightsError, listed, shortened


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([DataError, ConfigError], ConfigError),
        ([WeightsError, DataError], WeightsError),
        ([SlsttError, DataError], DataError),
        ([SlsttError], SlsttError),
    ],
)
def test_all_problems_are_raised_as_the_gravest_kind(kinds: list[type[SlsttError]], expected: type[SlsttError]) -> None:
    problems = Problems()
    for kind in kinds:
        with problems.collecting():
            raise kind(f"{kind.__name__} one", "two")
    problems.add(SlsttError("last"))
    with pytest.raises(SlsttError) as caught:
        problems.raise_if_any()
    assert type(caught.value) is expected
    assert list(caught.value.problems) == [*(text for k in kinds for text in (f"{k.__name__} one", "two")), "last"]


def test_what_is_no_problem_of_the_user_is_not_collected() -> None:
    problems = Problems()
    with pytest.raises(KeyError), problems.collecting():
        raise KeyError("a fault")
    with problems.collecting():
        pass
    problems.raise_if_any()


def test_long_lists_are_cut_and_counted() -> None:
    names = [str(number) for number in range(6)]
    assert shortened(names, 4) == ["0", "1", "2", "3", "... and 2 more"]
    assert shortened(names, 6) == names
    assert listed(names, 4) == "0, 1, 2, 3 and 2 more"
    assert listed(names, 6) == "0, 1, 2, 3, 4, 5"
