"""What the report takes from others, each with its licence beside it; README.md says from where."""
