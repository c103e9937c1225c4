"""Built-in adapters, one module a package; a module is imported only when its package is asked for."""
