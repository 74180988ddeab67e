"""What a Hugging Face encoder understands: fine-tuned tasks, probes of the frozen encoder, minimal pairs, overlap."""
