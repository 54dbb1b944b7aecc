"""Where cameras come from: folders now; each source tells which volumes are there."""
