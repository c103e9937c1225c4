"""What a scorecard is written as, one format a module."""
