"""What a notebook shows of an object or of work that takes long; needs no notebook to import."""
