"""Model cards: one object from run, report, verdict and people's words; Markdown, HTML and JSON from it."""
