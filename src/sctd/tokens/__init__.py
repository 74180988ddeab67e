"""Documents to packed token shards and back to rows: tokenizer, packing, manifest, the verb `prepare`."""
