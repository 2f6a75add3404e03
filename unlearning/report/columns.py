"""What is shown about each mean, beside it in the report's long form: gaps in units of noise, and verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .groups import Group
from .noise_floor import GAP, sigmas
from .verdicts import corrective, differences, judged

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, str, str]  # setting, label and metric


def with_what_is_shown(frame: pd.DataFrame, groups: Sequence[Group], margin: float | None) -> pd.DataFrame:
    """The records of ``frame_of`` with three more columns.

    These are sigmas (root mean square of the gaps, in units of the noise floor; empty without a floor or its spread),
    shown (within, differs, not shown, no spread, too few: see ``verdicts.judged``) and p, that of what is shown.
    """
    noise = {
        (group.setting, group.label, GAP + name): value
        for group, found in sigmas(groups)
        for name, value in found.items()
        if value is not None
    }
    shown = {}
    for group in groups:
        if group.row == "unlearned":
            own = "" if corrective(group) else GAP
            for one in judged(differences(group), margin):
                shown[group.setting, group.label, own + one.metric] = one
    rows: list[Row] = [
        (r.setting, r.method, r.metric) if r.row == "unlearned" else ("", "", "") for r in frame.itertuples()
    ]
    return frame.assign(
        sigmas=[noise.get(row, math.nan) for row in rows],
        shown=[shown[row].shown if row in shown else "" for row in rows],
        p=[shown[row].p if row in shown else math.nan for row in rows],
    )
