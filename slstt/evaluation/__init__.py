"""From predictions to metrics, comparisons, figures and reports."""
