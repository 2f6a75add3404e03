"""Words in Markdown that show as they are."""

from __future__ import annotations

import re

SPECIAL = re.compile(
    r"""[\\`*$<]        # code, emphasis, formulas and HTML
    | &(?=[\w#]+;)      # a name such as &lt;
    | (?<!\w)_ | _(?!\w)  # emphasis; not in small_cnn
    | ~(?=~) | (?<=~)~
    | \](?=[(\[:])      # links
    | ^(?:[#+=>-] | \d+(?=[.)]))  # headings, quotations and lists""",
    re.VERBOSE,
)


def escaped(text: str) -> str:
    """Text in one line that Markdown shows as it is: names of classes and folders may hold anything."""
    return SPECIAL.sub(lambda found: found[0] + "\\" if found[0].isdigit() else "\\" + found[0], " ".join(text.split()))
