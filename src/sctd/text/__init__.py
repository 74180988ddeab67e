"""Places (files, folders, globs, `hf:NAME`) to documents: formats, compression, duplicates, the split."""
