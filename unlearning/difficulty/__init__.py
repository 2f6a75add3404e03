"""How hard training samples are to forget: scores from finished runs, saved for ``scenario=difficulty``."""
