"""Templates, style sheets and scripts of the report; ``vitbench.reports.render`` inlines them all."""
