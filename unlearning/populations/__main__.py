"""``python -m unlearning.populations``."""

from .command import main

raise SystemExit(main())
