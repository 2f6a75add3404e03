"""``python -m unlearning.report``."""

from .command import main

raise SystemExit(main())
