"""Which of many versions a constraint means: text in, a tag out, and no effects.

    "~1.2 || >=3"  ──▶ Constraint: groups of intervals ─┐
    "v1.2.3_b7"    ──▶ Version: a key that sorts ───────┴──▶ select ──▶ newest tag

Constraints are those of Helm, that is of Masterminds/semver v3:

    = != > < >= <= ~ ~> ^        comparisons; without one, `=`
    1.x, 1, *                    wildcards: `1.2` is `~1.2`, any patch of it
    1.2 - 1.4                    a range, both ends included: `>=1.2, <=1.4`
    a space or a comma: and      `||`: or

A pre-release satisfies a group only if some version in the group is one, as in
`>=1.2.0-0`, or if the caller asks for pre-releases. Every comparison is an interval of
versions, closed below and open above, or what is outside of one.

This is written here because no library answers like Helm: node-semver wants the
pre-release of the same three numbers, reads `>2.3` and build metadata differently and
silently matches nothing where it cannot read; semantic-version knows neither `||` with
commas nor short versions in ranges. `test/unit/controllers/test_versions.py` has the
answers of Masterminds/semver itself. Three differences are meant: `1||2 - 3` is read
like `1 || 2 - 3`, a single `|` is always an error, and so is not the empty text.
"""

from controllers.versions.constraint import (
    CONSTRAINT_MAX,
    GROUPS_MAX,
    Constraint,
    InvalidConstraintError,
    parse_constraint,
)
from controllers.versions.selection import (
    PATTERN_MAX,
    Selection,
    TagFilter,
    select,
    tag_filter,
)
from controllers.versions.version import Version, parse_loose, parse_tag

__all__ = [
    "CONSTRAINT_MAX",
    "GROUPS_MAX",
    "PATTERN_MAX",
    "Constraint",
    "InvalidConstraintError",
    "Selection",
    "TagFilter",
    "Version",
    "parse_constraint",
    "parse_loose",
    "parse_tag",
    "select",
    "tag_filter",
]
