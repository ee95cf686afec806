"""What calls about campaigns answer."""

from connectors.gateway.campaign_answers import few, few_left_out


def test_what_counts_fewer_than_ten_people_is_left_out_with_its_name() -> None:
    assert few_left_out({"EMITTED": 9, "SUPPRESSED": 10, "EXPIRED": 0}, 0) == {"SUPPRESSED": 10}
    assert [few(number, 0) for number in (0, 1, 9, 10)] == [None, None, None, 10]


def test_one_person_more_shows_in_one_of_ten_files_and_never_among_fewer_than_ten() -> None:
    for number in range(300):
        told = [few(number, blur) for blur in range(10)]
        assert all(each is None or (each % 10 == 0 and 0 <= number - each < 20) for each in told)
        assert sum(
            each != more for each, more in zip(told, (few(number + 1, blur) for blur in range(10)), strict=True)
        ) == (number >= 9)
