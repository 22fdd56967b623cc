"""From `predictions.csv` to scores, intervals, comparisons and the report; nothing here needs torch but `attention`."""
