"""``python -m unlearning.difficulty``."""

from .command import main

raise SystemExit(main())
