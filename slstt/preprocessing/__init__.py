"""From native clips to cached onset-referenced flow."""
