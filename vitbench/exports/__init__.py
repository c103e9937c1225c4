"""What results are written as, one format a module; ``formats`` chooses among them."""
