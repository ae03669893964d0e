"""Reading and writing files: atomic, digested, strict; the bottom that every wing stands on."""
