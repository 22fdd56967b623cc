"""Leave-one-subject-out training on cached flow."""
