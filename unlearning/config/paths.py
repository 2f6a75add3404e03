"""The locations of the package and its configuration."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf"  # in a wheel; in a checkout it lies beside the package
if not CONF.is_dir():
    CONF = PACKAGE.parent / "conf"

DISTRIBUTION = "unlearning-bench"  # the name under which the package is installed
