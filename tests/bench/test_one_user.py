import json
from collections import Counter

from bench.decisions import Workload
from bench.one_user import Post, UserState, decide, decide_stored, new_user
from state.model.preference import compile_preference


def test_a_user_kept_as_json_is_decided_as_one_in_memory() -> None:
    work, outcomes = Workload(100, 6), Counter[str]()
    for name in work.users:
        state = UserState(compile_preference(work.documents[name]), name in work.reachable)
        user = new_user(work.documents[name], push=name in work.reachable)
        for event in work.events:
            post = Post(event.event_id, event.type, event.ingested_at, event.ttl_ms)
            user, decision = decide_stored(json.loads(json.dumps(user)), post)
            assert decision == decide(state, post, post.ingested_at)
            outcomes[decision[1]] += 1
        assert user["emitted"] == list(state.emitted)
        assert len(user["held"]) == len(state.held)
    assert set(outcomes) == {"EMITTED", "HELD", "SUPPRESSED", "INBOX"}
