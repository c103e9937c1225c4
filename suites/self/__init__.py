"""Self: what vitbench's own timer reads of loads whose duration is known, beside other timers."""
