"""What calls about campaigns answer."""

from connectors.gateway.campaign_answers import few, few_left_out


def test_what_counts_fewer_than_ten_people_is_left_out_with_its_name() -> None:
    assert few_left_out({"EMITTED": 9, "SUPPRESSED": 10, "EXPIRED": 0}) == {"SUPPRESSED": 10}
    assert [few(number) for number in (0, 1, 9, 10)] == [None, None, None, 10]
