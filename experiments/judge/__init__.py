"""Every method, tuned at equal budget, judged by accuracy and by what lies beyond it."""
