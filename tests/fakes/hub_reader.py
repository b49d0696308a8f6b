"""`python -m tests.fakes.hub_reader CASES`: reads hub data sets and models in a process of its own and prints what it
read.

CASES is JSON: a list of {"as": "source", "public", "require" or "fetch", …settings}; the output has one line of JSON
for each.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from reer.data.hub import HubSource
from reer.data.public import PublicRows
from reer.data.rows import Fields, Problems
from reer.errors import Incomplete, InputError
from reer.models.local.checkpoints import HubModel


def read(settings: dict[str, Any]) -> dict[str, Any]:
    kind, problems = settings.pop("as"), Problems(settings.pop("on_bad_row", "error"))
    fields = {"fields": Fields(**settings.pop("fields"))} if "fields" in settings else {}
    try:
        if kind == "require":
            HubModel(**settings).require()
            found = []
        elif kind == "fetch":
            found = sorted(file.name for file in HubModel(**settings).fetch().iterdir())
        elif kind == "source":
            rows = list(HubSource(**settings, **fields).rows(problems))
            found = [[row.query, row.thinking, row.solution, row.where] for row in rows]
        else:
            samples = list(PublicRows(name="p", **settings).samples(problems))
            found = [[row.messages[0].content, row.thinking, row.answer, row.messages[0].role] for row in samples]
    except (InputError, Incomplete) as error:
        return {"error": type(error).__name__, "says": str(error)}
    return {"rows": found, "dropped": [drop.id for drop in problems.drops]}


for case in json.loads(sys.argv[1]):
    print(json.dumps(read(case)))
