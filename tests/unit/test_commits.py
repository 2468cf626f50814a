import pytest

from supervisor.core.commits import Answer, answer


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("REBALANCE_IN_PROGRESS", Answer.KEEP),
        ("STALE_MEMBER_EPOCH", Answer.RETRY),
        ("ILLEGAL_GENERATION", Answer.DROP),
        ("FENCED_INSTANCE_ID", Answer.FENCED),
        ("_FATAL", Answer.FATAL),
        ("GROUP_AUTHORIZATION_FAILED", Answer.CONFIG),
        ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Answer.CONFIG),
        ("a code of tomorrow", Answer.KEEP),
    ],
)
def test_each_commit_error_has_its_answer(code: str, expected: Answer) -> None:
    assert answer(code) is expected
