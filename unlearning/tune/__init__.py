"""Choose the settings of methods on validation data, each with the same number of trials."""
