"""How much of an image's structure is built into the model: translation, locality and reach (section 3.1)."""
