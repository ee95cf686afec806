"""`carillon rollout`: what somebody does to an event that goes in stages, also while the system runs."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, named, settings_beside
from state.model.campaign import RolloutVerb
from state.model.errors import RefusedActError


def rollout_command(
    verb: Annotated[RolloutVerb, typer.Argument(metavar="VERB", help="pause, resume, advance or cancel.")],
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", callback=named)],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Pause, resume, advance or cancel an event that goes in stages; it is noted who did."""
    from connectors.audit import COMMAND_LINE
    from connectors.campaigns import Actor, CampaignDesk
    from flows.commands.kill import user_name
    from flows.commands.progress import stages_record, stages_said
    from flows.process.open import clock_ms

    with existing_log(settings_beside(data)) as log:
        desk = CampaignDesk(log, clock=clock_ms)
        if desk.rollout(event) is None:
            raise RefusedActError("no such event goes in stages, or it was over a day ago")
        rollout = desk.turn(Actor(user_name(), COMMAND_LINE), event, verb)
    Output(as_json).show({"event_id": event, **stages_record(rollout)}, f"{event}, {stages_said(rollout)}")
